import { type Caller, type Rank, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { InUse, Operation } from '@kiruna/priority/operation'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'
import { type Completion, dispatcher, ECANCELED, EINTR, noReader } from './dispatch.ts'
import type { Native } from './native.ts'

/** A disk operation on GCD: it goes through the lane, and settles with its batch. */
export abstract class DispatchOperation<T> extends Operation<T> implements Completion {
  slot = -1
  protected readonly gcd = dispatcher()

  abstract complete(result: number, value: Buffer | undefined): void

  /** The caller's rank, now: it chooses GCD's queue. */
  protected get rank(): Rank {
    return rankOf(this.asker.priority)
  }

  protected stop(): void {
    this.gcd.cancel(this)
  }

  protected override handOver(): void {
    this.gcd.handOver(this)
  }
}

/** An open file. It stays open while operations on it are under way. */
export class OpenFile extends InUse {
  readonly fd: number
  /** For errors. */
  readonly path: string | Buffer

  constructor(fd: number, path: string | Buffer) {
    super(path)
    this.fd = fd
    this.path = path
  }

  override close(): Promise<void> {
    return super.close(() => new Promise((resolve, reject) => new Close(this.fd, this.path, resolve, reject)))
  }
}

/** What a system call is made on, and what its errors say. */
interface About {
  /** node:fs's name for it. */
  syscall: string
  /** For errors. */
  path?: string | Buffer
  /** The open file: it does not close before the call is done. */
  file?: OpenFile
  /** The call changes a file: once begun, it has the outcome that the OS gives it, even after an abort. */
  changes?: boolean
}

/** An operation that is one system call, on a GCD thread. */
export class Call<T> extends DispatchOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #about: About
  readonly #call: (native: Native, id: number, rank: Rank) => void
  readonly #toValue: (value: Buffer, result: number) => T

  /** @param toValue makes the value that the call resolves with */
  constructor(
    about: About,
    call: (native: Native, id: number, rank: Rank) => void,
    toValue: (value: Buffer, result: number) => T,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#about = about
    this.#call = call
    this.#toValue = toValue
    this.ownsBuffer = !about.changes
  }

  /** @throws EBADF: the file is closed */
  run(): this {
    const { file, syscall } = this.#about
    if (file !== undefined) this.use(file, syscall)
    return this.begin(0)
  }

  start(): void {
    this.gcd.stage(this)
  }

  submit(): void {
    if (this.aborted) this.complete(ECANCELED, undefined)
    else this.#call(this.gcd.native, this.gcd.begin(this), this.rank)
  }

  complete(result: number, value: Buffer | undefined): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    const { syscall, file, path = file?.path, changes } = this.#about
    if (result < 0) this.fail(systemError(result, syscall, path))
    else if (changes) this.commit(this.#toValue(value!, result))
    else this.succeed(this.#toValue(value!, result))
    this.end()
  }

  end(): void {
    this.#about.file?.leave()
  }
}

/** What to open. */
export interface Opening {
  path: string | Buffer
  flags: number
  mode: number
  /** The file's status is asked for too. */
  wantsStatus?: boolean
  /** The file is made, or emptied: an abort that comes too late still resolves with it. */
  changes?: boolean
}

const [firstRetryMs, longestRetryMs] = [1, 50]

/**
 * open(2) without waiting. A FIFO that nobody reads cannot be opened for writing like this, so the open is tried again.
 * @see fifo(7)
 */
export class Open<T> extends Call<T> {
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    { path, flags, mode, wantsStatus = false, changes }: Opening,
    opened: (status: Buffer, fd: number) => T,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(
      { syscall: 'open', path, changes },
      (native, id, rank) => native.open(id, rank, pathBytes(path), flags, mode, wantsStatus),
      opened,
      caller,
      resolve,
      reject,
    )
  }

  override complete(result: number, status: Buffer | undefined): void {
    if (result === noReader) {
      this.leave()
      if (this.aborted) this.fail(undefined)
      else this.#openLater()
    } else if (result >= 0 && this.aborted && this.ownsBuffer) {
      this.leave()
      new Close(result)
    } else super.complete(result, status)
  }

  #openLater(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.enter(0)
    }, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  protected override stop(): void {
    if (this.#timer === undefined) super.stop()
    else {
      clearTimeout(this.#timer)
      this.fail(undefined)
    }
  }
}

/** It bypasses the lane, since it asks nothing of the disk. @see close(2) */
export class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  constructor(
    fd: number,
    path: string | Buffer = '',
    resolve: () => void = nothing,
    reject: (reason: unknown) => void = nothing,
  ) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    const gcd = dispatcher()
    gcd.native.close(gcd.begin(this), closeRank, fd)
  }

  complete(result: number): void {
    // The fd is closed even if close(2) says EINTR.
    if (result < 0 && result !== EINTR) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}

/** user-blocking: others may wait for a free descriptor. */
const closeRank: Rank = 1

/** For a call without a value. */
export const nothing = () => {}

/** A path in bytes. */
export function pathBytes(path: string | Buffer): Buffer {
  return typeof path === 'string' ? Buffer.from(path) : path
}
