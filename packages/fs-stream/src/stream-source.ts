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
 * Checks a stream's source or sink: a path that it opens and closes, or an fd that it borrows.
 * @throws TypeError, RangeError: neither
 */
export function checkPathOrFd(given: PathLike | number): string | Buffer | number {
  return typeof given === 'number' ? checkInteger(given, 'fd', 0, 2 ** 31 - 1) : checkPath(given)
}

/** The largest piece where reads may have to wait: a pipe holds as much, and any datagram fits. */
export const waitingPieceBytes = 64 * 1024

/** What decides whether a stream's reads go through the disk's queue. */
export type StreamKind = Pick<Stats, 'isFile' | 'isBlockDevice' | 'isDirectory'>

/** The source that a stream reads: its own file, or a borrowed fd, whose readers share it. */
export class StreamSource<Status extends StreamKind = Stats> {
  readonly fd: number
  /** For errors; undefined for a borrowed fd. */
  readonly path: string | Buffer | undefined
  readonly stats: Status
  /** Its reads go through the lane. All others may have to wait for a peer, and bypass the lane. */
  readonly isOnDisk: boolean
  /** One read at a time: two could take their bytes in one order and complete in the other. */
  readonly turns = new Turns()
  readonly #key: string | undefined
  #readers = 0
  /** Bytes that reads have taken from the fd before they could be cancelled. An empty Buffer is the end. */
  #leftover: Buffer[] = []
  #leftoverAt: string | undefined = undefined
  #memory: Buffer | undefined = undefined

  /** @param key its key in `borrowed`; undefined: it is not shared */
  constructor(fd: number, stats: Status, path: string | Buffer | undefined, key?: string) {
    this.fd = fd
    this.path = path
    this.stats = stats
    this.isOnDisk = isOnDisk(stats)
    this.#key = key
  }

  /** Memory to read into. The read holds it until the OS is done with it. */
  takeMemory(bytes: number): Buffer {
    const memory = this.#memory
    this.#memory = undefined
    return memory !== undefined && memory.length >= bytes ? memory : Buffer.allocUnsafeSlow(bytes)
  }

  /** The bytes of a read: if they are few, a copy, and the memory serves the next read. */
  cut(memory: Buffer, bytes: number): Buffer {
    if (bytes > memory.length / 2) return memory.subarray(0, bytes)
    this.#memory = memory
    return copyOf(memory.subarray(0, bytes))
  }

  /** A cancelled read has taken these bytes: they are for the next reader of the fd. */
  giveBack(bytes: Buffer): void {
    if (this.#key === undefined) return
    this.#leftover.push(bytes)
    if (this.isOnDisk) this.#leftoverAt = positionOf(this.fd)
    if (this.#readers === 0) forgetStale()
  }

  /** The bytes that were given back: the next read returns them before it takes any from the fd. */
  takeBack(mostBytes: number): Buffer | undefined {
    if (this.#leftover.length === 0) return undefined
    // A file's offset may have been changed, or another file opened as the same fd.
    if (this.isOnDisk && positionOf(this.fd) !== this.#leftoverAt) this.#leftover = []
    const bytes = this.#leftover.shift()
    if (bytes === undefined || bytes.length <= mostBytes) return bytes
    this.#leftover.unshift(bytes.subarray(mostBytes))
    return copyOf(bytes.subarray(0, mostBytes))
  }

  addReader(): this {
    this.#readers++
    return this
  }

  /** Removes a reader. `close` runs when no read is under way any more. */
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

/** A copy with memory of its own: Buffer's pool would be transferred with it, and whatever else is in there. */
export function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}

/** Whether reads go through the disk's queue. A directory is on the disk too: a read says EISDIR. */
export function isOnDisk(stats: StreamKind): boolean {
  return stats.isFile() || stats.isBlockDevice() || stats.isDirectory()
}

/** Whether it is a pseudoterminal's master: a read says EIO once the programs in the terminal have gone. */
export function isPtyMaster(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === ptmxDevice
}

/** Keyed by fd and inode: a closed fd may be another file's a moment later. */
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

/** The status of an fd to write to. @throws EBADF: not open, or not for writing */
export function borrowSink(fd: number): Stats {
  return statsFor(O_WRONLY, fd, 'write')
}

/**
 * fstat(2) of an open fd does not wait for a disk. The access mode is checked here, since a wait for the wrong end of a
 * pipe would never end.
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

/** fcntl(2)'s F_GETFL, on Linux. Elsewhere Node.js has no way to ask, and O_RDWR is assumed. */
export function flagsOf(fd: number): number {
  if (!isLinux) return O_RDWR // wine has a /proc too, with other fds
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

/** Drops bytes that were given back to fds that are closed by now. */
function forgetStale(): void {
  for (const [key, source] of borrowed) if (source.isStale) borrowed.delete(key)
}

/** The file offset. Node.js has no call for lseek(2). */
function positionOf(fd: number): string | undefined {
  if (!isLinux) return undefined
  try {
    return /^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]
  } catch {
    return undefined
  }
}
