import type { Caller, Rank } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { type InUse, Operation } from '@kiruna/priority/operation'
import { fuseDevices } from './native.ts'
import { type Ring, ring } from './ring.ts'
import { AT_FDCWD, type Completion, EINTR, prepOpenat, punt } from './sqe.ts'

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
}

/** An operation that is one submission. It takes a closure, so it is for calls that cost far more than that. */
export class RingCall<T> extends RingOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #about: About
  readonly #prepare: (ring: Ring, call: RingCall<T>) => void
  readonly #toValue: ((result: number) => T) | undefined

  /**
   * @param prepare fills the submission, once the lane has admitted it
   * @param toValue makes the value from the result. Without it the call changes a file: once begun, it has the outcome that
   *   the kernel gives it, even if the signal has aborted by then
   */
  constructor(
    about: About,
    prepare: (ring: Ring, call: RingCall<T>) => void,
    toValue: ((result: number) => T) | undefined,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#about = about
    this.#prepare = prepare
    this.#toValue = toValue
    this.ownsBuffer = toValue !== undefined
  }

  /** @throws EBADF: the file has been closed */
  run(): void {
    this.#about.inUse?.enter(this.#about.syscall)
    this.begin(0)
  }

  start(): void {
    this.#prepare(this.ring, this)
    this.ring.submitSoon(this.laneRank as Rank)
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, this.#about.syscall, this.#about.path))
    else if (this.#toValue === undefined) this.commit(undefined as T)
    else this.succeed(this.#toValue(result))
    this.end()
  }

  end(): void {
    this.#about.inUse?.leave()
  }
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
