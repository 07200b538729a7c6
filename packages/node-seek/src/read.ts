import * as fs from 'node:fs'
import { PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'

/** Fills a buffer, piece by piece, up to the end of the file. @see pread(2) */
export class Read extends PoolOperation<number> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse
  #doneBytes = 0

  constructor(
    fd: number,
    path: string | Buffer,
    direct: boolean,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse,
    caller: Caller,
    resolve: (value: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
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
    const askedBytes = Math.min(this.#lengthBytes - done, this.maxBytes)
    fs.read(this.#fd, this.#buffer, done, askedBytes, this.#position + done, (error, bytes) => {
      this.leave()
      if (error !== null) {
        if (this.retry(error.errno!, () => this.enter(this.nextBytes))) return
        this.fail(withPath(error, this.#path))
      } else if (this.aborted) this.fail(undefined)
      else {
        this.#doneBytes += bytes
        // After a short direct read the next would begin unaligned: it was the end.
        const ended =
          bytes === 0 || this.#doneBytes === this.#lengthBytes || (this.#direct && bytes < askedBytes)
        if (!ended) return this.enter(this.nextBytes)
        this.succeed(this.#doneBytes)
      }
      this.end()
    })
  }

  end(): void {
    this.#inUse.leave()
  }
}
