import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'
import { bytesAt, PortOperation } from '@kiruna/win-iocp/operation'

/**
 * Fills a buffer, piece by piece, up to the end of the file.
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
 */
export class Read extends PortOperation<number> {
  protected readonly ownsBuffer = false
  readonly #file: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse
  #doneBytes = 0
  #askedBytes = 0

  constructor(
    file: number,
    path: string | Buffer,
    direct: boolean,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse,
    caller: Caller,
    resolve: (bytes: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#file = file
    this.#path = path
    this.#direct = direct
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
    const { port, rank } = this
    const bytes = bytesAt(this.#buffer, done, this.#askedBytes)
    port.native.read(port.begin(this), rank, this.#file, bytes, this.#position + done)
  }

  complete(result: number): void {
    this.leave()
    if (result < 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result, 'read', this.#path))
    } else {
      this.#doneBytes += result
      // After a short direct read the next would begin unaligned: it was the end.
      const ended =
        result === 0 || this.#doneBytes === this.#lengthBytes || (this.#direct && result < this.#askedBytes)
      if (ended || this.aborted) this.succeed(this.#doneBytes)
      else {
        this.enter(this.nextBytes)
        return
      }
    }
    this.end()
  }

  end(): void {
    this.#inUse.leave()
  }
}
