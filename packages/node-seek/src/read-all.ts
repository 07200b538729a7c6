import type { Stats } from 'node:fs'
import * as fs from 'node:fs'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import { type Failure, PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { maxPieceBytes } from '@kiruna/priority/lane'

/**
 * open, read until 0, close. The lane admits the open with the first piece and, where that was short, with the read
 * that finds the end: most files are done then. One that fills the landing and a guess beyond it is asked for its size.
 */
export class ReadAll extends PoolOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #fd = -1
  #content: GrowingBuffer | undefined = undefined
  #askedBytes = 0
  /** What the lane has admitted includes a short read already: another is no more than the one that finds the end. */
  #readOnce = false

  constructor(
    path: string | Buffer,
    maxBytes: number,
    caller: Caller,
    resolve: (value: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#maxBytes = maxBytes
  }

  start(): void {
    if (this.#fd === -1) {
      fs.open(this.#path, 'r', this.#opened)
      return
    }
    const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
    if (content.outgrown) {
      fs.fstat(this.#fd, this.#measured)
      return
    }
    this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes)
    const { memory, lengthBytes } = content
    fs.read(this.#fd, memory, lengthBytes, this.#askedBytes, lengthBytes, this.#transferred)
  }

  readonly #opened = (error: Failure, fd: number): void => {
    if (error === null) this.#fd = fd
    this.#next(error, () => this.start())
  }

  readonly #measured = (error: Failure, stats: Stats): void => {
    this.#next(error, content => {
      content.expect(stats.size)
      this.#askAgain(maxPieceBytes)
    })
  }

  readonly #transferred = (error: Failure, bytes: number): void => {
    this.#next(error, content => {
      if (bytes === 0) {
        this.succeed(content.take(), content.lengthBytes)
        this.end()
        return
      }
      content.add(bytes)
      if (content.outgrown) this.#askAgain(0)
      else if (bytes < this.#askedBytes && !this.#readOnce) {
        this.#readOnce = true
        this.start()
      } else this.#askAgain(maxPieceBytes)
    })
  }

  /** Goes on if somebody still wants it: by `start`, as what the lane has admitted already, or by asking again. */
  #next(error: Failure, goOn: (content: GrowingBuffer) => void): void {
    try {
      if (error !== null) throw withPath(error, this.#path)
      if (this.aborted) this.end()
      else goOn(this.#content!)
    } catch (error) {
      this.fail(error) // the system's, or too large, or no memory
      this.end()
    }
  }

  #askAgain(bytes: number): void {
    this.#readOnce = false
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  /** The close holds a pool thread too, though nobody waits for it: until then it stays in the lane. */
  end(): void {
    this.#content?.release()
    this.#content = undefined
    if (this.#fd === -1) this.leave()
    else fs.close(this.#fd, () => this.leave())
  }
}
