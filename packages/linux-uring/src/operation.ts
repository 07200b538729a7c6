import { Stats } from 'node:fs'
import type { Caller, Rank } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { type InUse, Operation } from '@kiruna/priority/operation'
import { deviceNumber, fuseDevices } from './native.ts'
import { type Ring, ring } from './ring.ts'
import { AT_FDCWD, type Completion, cString, EINTR, prepOpenat, prepStatx, punt, statxBytes } from './sqe.ts'

/** What the operations on one open file share. */
export interface OpenFile {
  readonly fd: number
  readonly path: string | Buffer
  /** O_DIRECT. */
  readonly direct: boolean
  readonly inUse: InUse
  /** Large reads in flight below user-blocking. */
  scans: number
  /** The kernel may read beyond what it is asked for. */
  readsAhead: boolean
}

/** A disk operation on the ring: it goes through the lane, and settles with its batch. */
export abstract class RingOperation<T> extends Operation<T> implements Completion {
  slot = -1
  /** @internal the rank of the batch that it was delivered with, −1 for none */
  deliveredRank: Rank | -1 = -1
  protected readonly ring = ring()

  abstract complete(result: number): void

  protected stop(): void {
    this.ring.cancel(this)
  }

  protected override handOver(): void {
    this.ring.handOver(this)
  }

  protected override delivered(): void {
    if (this.deliveredRank !== -1) this.ring.delivered(this.deliveredRank)
  }
}

/** What a call is made on, and what its errors say. */
interface About {
  /** node:fs's name for it. */
  syscall: string
  /** For errors. */
  path?: string | Buffer | undefined
  /** The open file's: it does not close before the call is done. */
  inUse?: InUse | undefined
  /** The call changes a file: once begun, it has the outcome that the kernel gives it, even if the signal has aborted. */
  changes?: boolean
}

/** What a call that returns nothing makes of its result. */
export const nothing = (): void => {}

/** An operation that is one submission. It takes a closure, so it is for calls that cost far more than that. */
export class RingCall<T> extends RingOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #about: About
  readonly #prepare: (ring: Ring, call: RingCall<T>) => void
  readonly #toValue: (result: number) => T

  /**
   * @param prepare fills the submission, once the lane has admitted it
   * @param toValue makes the value from the result
   */
  constructor(
    about: About,
    prepare: (ring: Ring, call: RingCall<T>) => void,
    toValue: (result: number) => T,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#about = about
    this.#prepare = prepare
    this.#toValue = toValue
    this.ownsBuffer = about.changes !== true
  }

  /** @throws EBADF: the file has been closed */
  run(): this {
    const { inUse, syscall } = this.#about
    if (inUse !== undefined) this.use(inUse, syscall)
    return this.begin(0)
  }

  start(): void {
    this.#prepare(this.ring, this)
    this.ring.submitSoon(this.laneRank as Rank)
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    const { syscall, path, changes } = this.#about
    if (result < 0) this.fail(systemError(result, syscall, path))
    else if (changes) this.commit(this.#toValue(result))
    else this.succeed(this.#toValue(result))
    this.end()
  }

  end(): void {
    this.#about.inUse?.leave()
  }
}

/** @param kind 'fstat': the status of `fd`; `path` is for errors only @see statx(2) */
export function statx(
  kind: 'stat' | 'lstat' | 'fstat',
  fd: number,
  path: string | Buffer,
  caller: Caller,
  resolve: (stats: Stats) => void,
  reject: (reason: unknown) => void,
  inUse?: InUse,
): RingCall<Stats> {
  const name = kind === 'fstat' ? undefined : cString(path)
  let status: Buffer
  const prepare = (ring: Ring, call: RingCall<Stats>) => {
    status = Buffer.allocUnsafe(statxBytes)
    prepStatx(ring, ring.sqe(fd, call), name, status, kind !== 'lstat')
  }
  const about = { syscall: kind, path, inUse }
  return new RingCall(about, prepare, () => statsOf(status), caller, resolve, reject)
}

/**
 * Stages an openat for an operation.
 * @param name a C string: hold it until the kernel has read it
 * @param mayWait a kernel thread does it. Otherwise it is tried on this thread first, unless the path may be on FUSE
 */
export function openat<T>(
  operation: RingOperation<T>,
  name: Buffer,
  flags: number,
  mode: number,
  mayWait = false,
): void {
  const to = ring()
  const sqe = to.sqe(AT_FDCWD, operation, true)
  prepOpenat(to, sqe, name, flags, mode)
  if (mayWait || fuseDevices().size > 0) punt(to, sqe)
  to.submitSoon(operation.laneRank as Rank)
}

/** It bypasses the lane, since it asks nothing of the disk. @see close(2) */
export class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  constructor(fd: number, path: string | Buffer, resolve: () => void, reject: (reason: unknown) => void) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    ring().close(fd, this)
  }

  complete(result: number): void {
    // Linux has closed the fd even if it says EINTR.
    if (result < 0 && result !== EINTR) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}

// struct statx, linux/stat.h, in the machine's byte order: little-endian wherever Node runs, except on s390x.
const offset = {
  blockSize: 4,
  links: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  inode: 32,
  size: 40,
  blocks: 48,
  accessed: 64,
  born: 80,
  changed: 96,
  modified: 112,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
} as const

/** node:fs's own Stats, from what statx(2) has written. */
export function statsOf(status: Buffer): Stats {
  const view = new DataView(status.buffer, status.byteOffset, status.length)
  const uint32 = (at: number) => view.getUint32(at, littleEndian)
  const [atimeMs, mtimeMs] = [timeMs(view, offset.accessed), timeMs(view, offset.modified)]
  const [ctimeMs, birthtimeMs] = [timeMs(view, offset.changed), timeMs(view, offset.born)]
  // The constructor of Stats is deprecated, so its prototype's methods are put over these fields.
  return Object.assign(Object.create(Stats.prototype) as Stats, {
    dev: deviceNumber(uint32(offset.devMajor), uint32(offset.devMinor)),
    mode: view.getUint16(offset.mode, littleEndian),
    nlink: uint32(offset.links),
    uid: uint32(offset.uid),
    gid: uint32(offset.gid),
    rdev: deviceNumber(uint32(offset.rdevMajor), uint32(offset.rdevMinor)),
    blksize: uint32(offset.blockSize),
    ino: uint64(view, offset.inode),
    size: uint64(view, offset.size),
    blocks: uint64(view, offset.blocks),
    atimeMs,
    mtimeMs,
    ctimeMs,
    birthtimeMs,
    atime: dateOf(atimeMs),
    mtime: dateOf(mtimeMs),
    ctime: dateOf(ctimeMs),
    birthtime: dateOf(birthtimeMs),
  })
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

function uint64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, littleEndian))
}

/** struct statx_timestamp: seconds and nanoseconds, as milliseconds with a fraction. */
function timeMs(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, littleEndian)) * 1000 + view.getUint32(at + 8, littleEndian) / 1e6
}

/** A Date has whole milliseconds: node:fs rounds like this. */
function dateOf(timeMs: number): Date {
  return new Date(Math.round(timeMs))
}
