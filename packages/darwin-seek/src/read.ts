import { whose } from '@kiruna/darwin-dispatch/native'
import { DispatchOperation } from '@kiruna/darwin-dispatch/operation'
import { type Caller, rankOf } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'

/** Fills a buffer, piece by piece, up to the end of the file. @see dispatch_io_read(3), pread(2) */
export class Read extends DispatchOperation<number> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse
  #doneBytes = 0
  #askedBytes = 0

  constructor(
    fd: number,
    path: string | Buffer,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse,
    caller: Caller,
    resolve: (bytes: number) => void,
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

  /** What the lane counts the next read as. */
  get nextBytes(): number {
    return Math.min(this.#lengthBytes - this.#doneBytes, maxPieceBytes)
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#buffer.byteLength !== this.#lengthBytes) throw detached()
    const done = this.#doneBytes
    this.#askedBytes = Math.min(this.#lengthBytes - done, this.maxBytes)
    const address = this.gcd.addressOf(this.#buffer) + done
    const rank = rankOf(this.asker.priority)
    const id = this.gcd.begin(this)
    this.gcd.native.read(
      id,
      rank,
      this.#fd,
      address,
      this.#askedBytes,
      this.#position + done,
      whose.ours,
      false,
    )
  }

  complete(result: number): void {
    this.leave()
    if (result < 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result, 'read', this.#path))
    } else {
      this.#doneBytes += result
      const isWhole = this.#doneBytes === this.#lengthBytes || result < this.#askedBytes
      if (!isWhole && !this.aborted) {
        this.enter(this.nextBytes)
        return
      }
      this.succeed(this.#doneBytes)
    }
    this.end()
  }

  end(): void {
    this.#inUse.leave()
  }
}
