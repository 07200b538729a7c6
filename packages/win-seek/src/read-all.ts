import { constants } from 'node:fs'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { Close } from '@kiruna/win-iocp/close'
import { createFile, widePath } from '@kiruna/win-iocp/create-file'
import { bytesAt, PortOperation } from '@kiruna/win-iocp/operation'

/**
 * open, read until 0, close. The lane admits the open with the first piece and, where that was short, with the read
 * that finds the end: most files are done then. One that fills the landing and a guess beyond it is asked for its size.
 */
export class ReadAll extends PortOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'size' = 'open'
  #file = -1
  #content: GrowingBuffer | undefined = undefined
  #askedBytes = 0
  /** What the lane has admitted includes a short read already: another is no more than the one that finds the end. */
  #readOnce = false

  constructor(
    path: string | Buffer,
    maxBytes: number,
    caller: Caller,
    resolve: (bytes: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#maxBytes = maxBytes
  }

  start(): void {
    const { port, rank } = this
    if (this.#step === 'open') createFile(port, this, rank, widePath(this.#path), constants.O_RDONLY, 0)
    else if (this.#step === 'size') port.native.fileSize(port.begin(this), rank, this.#file)
    else {
      const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
      const { lengthBytes } = content
      this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes)
      const bytes = bytesAt(content.memory, lengthBytes, this.#askedBytes)
      port.native.read(port.begin(this), rank, this.#file, bytes, lengthBytes)
    }
  }

  complete(result: number): void {
    if (this.#step === 'open' && result >= 0) this.#file = result
    try {
      if (this.aborted) this.#finish()
      else if (this.retry(result, () => this.start())) return
      else if (result < 0) {
        throw systemError(result, this.#step === 'size' ? 'fstat' : this.#step, this.#path)
      } else this.#next(result)
    } catch (error) {
      this.fail(error) // the kernel's, or too large, or no memory
      this.#finish()
    }
  }

  #next(result: number): void {
    const content = this.#content
    if (content === undefined)
      this.#goOn() // it has been opened
    else if (this.#step === 'size') {
      content.expect(result)
      this.#askAgain('read', maxPieceBytes)
    } else if (result === 0) {
      this.succeed(content.take(), content.lengthBytes)
      this.#finish()
    } else {
      content.add(result)
      if (content.outgrown) this.#askAgain('size', 0)
      else if (result < this.#askedBytes && !this.#readOnce) this.#goOn()
      else this.#askAgain('read', maxPieceBytes)
    }
  }

  /** Reads as what the lane has admitted already. */
  #goOn(): void {
    this.#readOnce = this.#step === 'read'
    this.#step = 'read'
    this.start()
  }

  #askAgain(step: 'read' | 'size', bytes: number): void {
    this.#step = step
    this.#readOnce = false
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  #finish(): void {
    this.leave()
    this.end()
  }

  end(): void {
    if (this.#file !== -1) new Close(this.#file)
    this.#content?.release()
    this.#content = undefined
  }
}
