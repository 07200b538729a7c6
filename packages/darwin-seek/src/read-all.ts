import { constants } from 'node:fs'
import { pathBytes } from '@kiruna/darwin-dispatch/call'
import { Close } from '@kiruna/darwin-dispatch/close'
import { whose } from '@kiruna/darwin-dispatch/native'
import { DispatchOperation } from '@kiruna/darwin-dispatch/operation'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import { type Caller, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'

/**
 * open, read, close. A read that comes back short has found the end. The lane admits the open with the first piece: most
 * files are done then. One that fills the landing and a guess beyond it is asked for its size.
 */
export class ReadAll extends DispatchOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'fstat' = 'open'
  #fd = -1
  #content: GrowingBuffer | undefined = undefined
  #askedBytes = 0

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
    const { native } = this.gcd
    const rank = rankOf(this.asker.priority)
    if (this.#step === 'open') {
      native.open(this.gcd.begin(this), rank, pathBytes(this.#path), constants.O_RDONLY, 0, false)
    } else if (this.#step === 'fstat') native.fstat(this.gcd.begin(this), rank, this.#fd)
    else {
      const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
      const { lengthBytes } = content
      this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes)
      const address = this.gcd.addressOf(content.memory) + lengthBytes
      const id = this.gcd.begin(this)
      native.read(id, rank, this.#fd, address, this.#askedBytes, lengthBytes, whose.ours, false)
    }
  }

  complete(result: number, status: Buffer | undefined): void {
    if (this.#step === 'open' && result >= 0) this.#fd = result
    try {
      if (this.aborted) this.#finish()
      else if (this.retry(result, () => this.start())) return
      else if (result < 0) throw systemError(result, this.#step, this.#path)
      else this.#next(result, status)
    } catch (error) {
      this.fail(error) // the system's, or too large, or no memory
      this.#finish()
    }
  }

  #next(result: number, status: Buffer | undefined): void {
    const content = this.#content
    if (content === undefined) {
      this.#step = 'read' // as what the lane has admitted already
      this.start()
    } else if (this.#step === 'fstat') {
      content.expect(statsOf(status!).size)
      this.#askAgain('read', maxPieceBytes)
    } else {
      content.add(result)
      if (result < this.#askedBytes) {
        this.succeed(content.take(), content.lengthBytes)
        this.#finish()
      } else if (content.outgrown) this.#askAgain('fstat', 0)
      else this.#askAgain('read', maxPieceBytes)
    }
  }

  #askAgain(step: 'read' | 'fstat', bytes: number): void {
    this.#step = step
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  #finish(): void {
    this.leave()
    this.end()
  }

  end(): void {
    if (this.#fd !== -1) new Close(this.#fd, this.#path)
    this.#content?.release()
    this.#content = undefined
  }
}
