import { ftruncate } from 'node:fs'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { EINVAL, EIO } from '@kiruna/linux-uring/sqe'
import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'

/** Writes a buffer, piece by piece. @see pwrite(2) */
export class Write extends RingOperation<void> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse | undefined
  #doneBytes = 0

  /** @param position −1: where the descriptor stands */
  constructor(
    fd: number,
    path: string | Buffer,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#buffer = buffer
    this.#position = position
    this.#lengthBytes = buffer.byteLength
    this.#inUse = inUse
  }

  /** What the lane counts the next write as. */
  get nextBytes(): number {
    return Math.min(this.#lengthBytes - this.#doneBytes, maxPieceBytes)
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#buffer.byteLength !== this.#lengthBytes) throw detached()
    const done = this.#doneBytes
    const bytes = Math.min(this.#lengthBytes - done, this.maxBytes)
    const address = this.ring.addressOf(this.#buffer) + done
    this.ring.write(this.#fd, address, bytes, this.#position === -1 ? -1 : this.#position + done, this)
  }

  complete(result: number): void {
    this.leave()
    if (result <= 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result < 0 ? result : EIO, 'write', this.#path)) // 0 would come again for ever
    } else {
      this.#doneBytes += result
      if (this.#doneBytes === this.#lengthBytes) this.commit(undefined)
      else if (this.aborted) this.fail(undefined)
      else {
        this.enter(this.nextBytes)
        return
      }
    }
    this.end()
  }

  end(): void {
    this.#inUse?.leave()
  }
}

/** @see fsync(2) */
export class Fsync extends RingOperation<void> {
  protected readonly ownsBuffer = false // an abort waits for what the kernel says: it may have been done
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #inUse: InUse | undefined

  constructor(
    fd: number,
    path: string | Buffer,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#inUse = inUse
  }

  start(): void {
    this.ring.fsync(this.#fd, this)
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, 'fsync', this.#path))
    else this.commit(undefined)
    this.end()
  }

  end(): void {
    this.#inUse?.leave()
  }
}

/** Before Linux 6.9 io_uring cannot: then node:fs's own is called, on libuv's thread pool. @see ftruncate(2) */
export class Ftruncate extends RingOperation<void> {
  protected readonly ownsBuffer = false
  static #missing = false
  override pooled = Ftruncate.#missing
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #lengthBytes: number
  readonly #inUse: InUse

  constructor(
    fd: number,
    path: string | Buffer,
    lengthBytes: number,
    inUse: InUse,
    caller: Caller,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#lengthBytes = lengthBytes
    this.#inUse = inUse
  }

  start(): void {
    if (!this.pooled) this.ring.ftruncate(this.#fd, this.#lengthBytes, this)
    else ftruncate(this.#fd, this.#lengthBytes, error => this.complete(error?.errno ?? 0))
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result === EINVAL && !this.pooled && !this.aborted) {
      // A kernel that does not know the call, or a descriptor that cannot be truncated: node:fs will tell.
      this.pooled = true
      this.enter(0)
      return
    }
    // It worked there, and not here.
    if (result === 0 && this.pooled) Ftruncate.#missing = true
    if (result < 0) this.fail(systemError(result, 'ftruncate', this.#path))
    else this.commit(undefined)
    this.end()
  }

  end(): void {
    this.#inUse.leave()
  }
}
