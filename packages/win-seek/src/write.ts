import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'
import { bytesAt, PortOperation } from '@kiruna/win-iocp/operation'

const EIO = errnoOf('EIO')

/**
 * Writes a buffer, piece by piece.
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile
 */
export class Write extends PortOperation<void> {
  protected readonly ownsBuffer = false
  readonly #file: number
  readonly #path: string | Buffer
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse | undefined
  #doneBytes = 0

  /** @param position −1: in order, where there are no positions */
  constructor(
    file: number,
    path: string | Buffer,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#file = file
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
    const position = this.#position === -1 ? 0 : this.#position + done
    const { port, rank } = this
    port.native.write(port.begin(this), rank, this.#file, bytesAt(this.#buffer, done, bytes), position)
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

/** @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-flushfilebuffers */
export class Fsync extends PortOperation<void> {
  protected readonly ownsBuffer = false // an abort waits for what the kernel says: it may have been done
  readonly #file: number
  readonly #path: string | Buffer
  readonly #inUse: InUse | undefined

  constructor(
    file: number,
    path: string | Buffer,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#file = file
    this.#path = path
    this.#inUse = inUse
  }

  start(): void {
    this.port.native.flush(this.port.begin(this), this.rank, this.#file)
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

/** @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-setfileinformationbyhandle */
export class Ftruncate extends PortOperation<void> {
  protected readonly ownsBuffer = false
  readonly #file: number
  readonly #path: string | Buffer
  readonly #lengthBytes: number
  readonly #inUse: InUse

  constructor(
    file: number,
    path: string | Buffer,
    lengthBytes: number,
    inUse: InUse,
    caller: Caller,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#file = file
    this.#path = path
    this.#lengthBytes = lengthBytes
    this.#inUse = inUse
  }

  start(): void {
    const { port, rank } = this
    port.native.setEndOfFile(port.begin(this), rank, this.#file, this.#lengthBytes)
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, 'ftruncate', this.#path))
    else this.commit(undefined)
    this.end()
  }

  end(): void {
    this.#inUse.leave()
  }
}
