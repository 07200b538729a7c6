import { EIO } from '@kiruna/darwin-dispatch/dispatch'
import { whose } from '@kiruna/darwin-dispatch/native'
import { DispatchOperation } from '@kiruna/darwin-dispatch/operation'
import { type Caller, rankOf } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'

/** Writes a buffer, piece by piece. @see dispatch_io_write(3), pwrite(2) */
export class Write extends DispatchOperation<void> {
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
    const address = this.gcd.addressOf(this.#buffer) + done
    const position = this.#position === -1 ? -1 : this.#position + done
    const rank = rankOf(this.asker.priority)
    this.gcd.native.write(this.gcd.begin(this), rank, this.#fd, address, bytes, position, whose.ours, false)
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
