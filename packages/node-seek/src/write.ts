import * as fs from 'node:fs'
import { PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'

/** Writes a buffer, piece by piece. @see pwrite(2) */
export class Write extends PoolOperation<void> {
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
    const position = this.#position === -1 ? null : this.#position + done
    fs.write(this.#fd, this.#buffer, done, bytes, position, (error, written) => {
      this.leave()
      if (error !== null) {
        if (this.retry(error.errno!, () => this.enter(this.nextBytes))) return
        this.fail(withPath(error, this.#path))
      } else {
        this.#doneBytes += written
        if (this.#doneBytes === this.#lengthBytes) this.commit(undefined)
        else if (written === 0)
          this.fail(systemError(EIO, 'write', this.#path)) // it would come again for ever
        else if (this.aborted) this.fail(undefined)
        else return this.enter(this.nextBytes)
      }
      this.end()
    })
  }

  end(): void {
    this.#inUse?.leave()
  }
}

const EIO = errnoOf('EIO')
