import { constants, fstatSync, readFileSync, type Stats } from 'node:fs'
import { checkInteger, checkPath, type PathLike } from '@kiruna/priority/arguments'
import { type ErrnoException, errnoOf, systemError } from '@kiruna/priority/error'
import { isLinux } from '@kiruna/priority/system'
import { Turns } from './turns.ts'

const { O_RDONLY, O_RDWR, O_WRONLY } = constants
const EBADF = errnoOf('EBADF')
/** makedev(3) of /dev/ptmx */
const ptmxDevice = 5 * 256 + 2

/**
 * A stream's source or sink: a path that it opens and closes, or an fd that it borrows.
 * @throws TypeError, RangeError: neither
 */
export function checkPathOrFd(given: PathLike | number): string | Buffer | number {
  return typeof given === 'number' ? checkInteger(given, 'fd', 0, 2 ** 31 - 1) : checkPath(given)
}

/** The largest piece of what is not on a disk: what a pipe holds, and any datagram. */
export const waitingPieceBytes = 64 * 1024

/** What decides whether a stream's reads go through the disk's queue. */
export type StreamKind = Pick<Stats, 'isFile' | 'isBlockDevice' | 'isDirectory'>

/** Where a stream reads: a file of its own, or what all the readers of one borrowed fd share. */
export class StreamSource<Status extends StreamKind = Stats> {
  readonly fd: number
  /** For errors; undefined for a borrowed fd. */
  readonly path: string | Buffer | undefined
  readonly stats: Status
  /** Its reads go through the lane. All others may have to wait for somebody, and stay out of it. */
  readonly isOnDisk: boolean
  /** Two reads at once could take their bytes in one order and complete in the other. */
  readonly turns = new Turns()
  readonly #key: string | undefined
  #readers = 0
  /** Taken from the fd by reads that were cancelled too late. An empty one is the end. */
  #leftover: Buffer[] = []
  #leftoverAt: string | undefined = undefined
  #memory: Buffer | undefined = undefined

  /** @param key undefined: it is not shared */
  constructor(fd: number, stats: Status, path: string | Buffer | undefined, key?: string) {
    this.fd = fd
    this.path = path
    this.stats = stats
    this.isOnDisk = isOnDisk(stats)
    this.#key = key
  }

  /** Memory to read into: held by the read until the OS is done with it. */
  takeMemory(bytes: number): Buffer {
    const memory = this.#memory
    this.#memory = undefined
    return memory !== undefined && memory.length >= bytes ? memory : Buffer.allocUnsafeSlow(bytes)
  }

  /** So many bytes have come: little is copied out, and the memory serves the next read. */
  cut(memory: Buffer, bytes: number): Buffer {
    if (bytes > memory.length / 2) return memory.subarray(0, bytes)
    this.#memory = memory
    return Buffer.from(memory.subarray(0, bytes))
  }

  /** A read has taken these, and nobody waits for them any more: they are for the next reader of the fd. */
  giveBack(bytes: Buffer): void {
    if (this.#key === undefined) return
    this.#leftover.push(bytes)
    if (this.isOnDisk) this.#leftoverAt = positionOf(this.fd)
    if (this.#readers === 0) forgetStale()
  }

  /** What the next read gives before anything is taken from the fd. */
  takeBack(mostBytes: number): Buffer | undefined {
    if (this.#leftover.length === 0) return undefined
    // A file may have been set back, or opened again as the same fd.
    if (this.isOnDisk && positionOf(this.fd) !== this.#leftoverAt) this.#leftover = []
    const bytes = this.#leftover.shift()
    if (bytes === undefined || bytes.length <= mostBytes) return bytes
    this.#leftover.unshift(bytes.subarray(mostBytes))
    return bytes.subarray(0, mostBytes)
  }

  addReader(): this {
    this.#readers++
    return this
  }

  /** One reader less. `close` runs when no read is under way any more. */
  removeReader(close: () => void): void {
    this.#readers--
    const closing = {
      takeTurn: () => {
        close()
        this.turns.leave(closing)
        if (this.isForgettable) borrowed.delete(this.#key!)
      },
    }
    this.turns.enter(closing)
  }

  get isForgettable(): boolean {
    return this.#key !== undefined && this.#readers === 0 && this.#leftover.length === 0
  }

  /** The fd is another file's now. */
  get isStale(): boolean {
    if (this.#readers > 0) return false
    try {
      return keyOf(this.fd, fstatSync(this.fd)) !== this.#key
    } catch {
      return true
    }
  }
}

/** Those whose bytes go through the disk's queue. A directory is the disk's too: it says EISDIR. */
export function isOnDisk(stats: StreamKind): boolean {
  return stats.isFile() || stats.isBlockDevice() || stats.isDirectory()
}

/** What a terminal emulator has: where a read says EIO, the programs in the terminal have gone. */
export function isTerminalsOtherSide(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === ptmxDevice
}

/** By fd and inode: an fd that was closed may be another file's a moment later. */
const borrowed = new Map<string, StreamSource>()

/**
 * The source that the readers of an fd share.
 * @throws EBADF: not open, or not for reading
 */
export function borrow(fd: number): StreamSource {
  const stats = statsFor(O_RDONLY, fd, 'read')
  const key = keyOf(fd, stats)
  let source = borrowed.get(key)
  if (source === undefined) borrowed.set(key, (source = new StreamSource(fd, stats, undefined, key)))
  return source
}

/** What an fd is that is to be written. @throws EBADF: not open, or not for writing */
export function borrowSink(fd: number): Stats {
  return statsFor(O_WRONLY, fd, 'write')
}

/**
 * fstat(2): no disk is asked about an fd that is open. A pipe's end is looked at more closely: it may be waited for in
 * vain, or be opened anew, as what it is not.
 */
function statsFor(accessMode: number, fd: number, syscall: string): Stats {
  try {
    const stats = fstatSync(fd)
    const direction = flagsOf(fd) & (O_WRONLY | O_RDWR)
    if (direction === accessMode || direction === O_RDWR) return stats
  } catch (error) {
    throw systemError((error as ErrnoException).errno, syscall)
  }
  throw systemError(EBADF, syscall)
}

/** fcntl(2)'s F_GETFL. Only Linux tells; elsewhere an fd is taken for what it was at first. */
export function flagsOf(fd: number): number {
  if (!isLinux) return O_RDWR // under wine there is a /proc too, of other fds
  try {
    const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]
    return flags === undefined ? O_RDWR : Number.parseInt(flags, 8)
  } catch {
    return O_RDWR
  }
}

function keyOf(fd: number, { dev, ino }: Stats): string {
  return `${fd} ${dev} ${ino}`
}

/** What was given back and never asked for goes with its fd. */
function forgetStale(): void {
  for (const [key, source] of borrowed) if (source.isStale) borrowed.delete(key)
}

/** lseek(2) says it, but Node.js has no call for it. */
function positionOf(fd: number): string | undefined {
  if (!isLinux) return undefined
  try {
    return /^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]
  } catch {
    return undefined
  }
}
