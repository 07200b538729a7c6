import type { Stats } from 'node:fs'
import * as fs from 'node:fs'
import type { Caller } from '@kiruna/priority'
import { Content } from '@kiruna/priority/content'
import { pieceBytes } from '@kiruna/priority/lane'
import { type Failure, PoolOperation, type Reject, type Resolve, withPath } from './pool.ts'

/** open, read until 0, close; for a file larger than the landing, fstat once that is full tells how much to expect. */
export class ReadAll extends PoolOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #fd = -1
  #content: Content | undefined = undefined

  constructor(
    path: string | Buffer,
    maxBytes: number,
    caller: Caller,
    resolve: Resolve<Buffer>,
    reject: Reject,
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
    const content = (this.#content ??= new Content(this.#path, this.#maxBytes))
    if (content.outgrown) {
      fs.fstat(this.#fd, this.#measured)
      return
    }
    const room = content.room()
    fs.read(this.#fd, room, 0, Math.min(room.length, this.mostBytes), content.lengthBytes, this.#transferred)
  }

  readonly #opened = (error: Failure, fd: number): void => {
    if (error === null) this.#fd = fd
    this.#next(error)
  }

  readonly #measured = (error: Failure, stats: Stats): void => {
    this.#next(error, content => content.expect(stats.size))
  }

  readonly #transferred = (error: Failure, bytes: number): void => {
    if (error === null && bytes === 0) {
      this.succeed(this.#content!.take(), this.#content!.lengthBytes)
      this.end()
    } else this.#next(error, content => content.add(bytes))
  }

  /** Takes what has come, and goes on if somebody still wants it. */
  #next(error: Failure, take?: (content: Content) => void): void {
    try {
      if (error !== null) throw withPath(error, this.#path)
      take?.(this.#content!)
    } catch (error) {
      this.fail(error)
      this.end()
      return
    }
    if (this.aborted) {
      this.end()
      return
    }
    this.leave()
    this.enter(pieceBytes)
  }

  /** The close holds a pool thread too, though nobody waits for it: until then it stays in the lane. */
  end(): void {
    this.#content?.release()
    this.#content = undefined
    if (this.#fd === -1) this.leave()
    else fs.close(this.#fd, () => this.leave())
  }
}
