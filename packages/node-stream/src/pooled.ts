import * as fs from 'node:fs'
import { type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { type Failure, PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Asker } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'

const EAGAIN = errnoOf('EAGAIN')
const EIO = errnoOf('EIO')
/** libuv has nothing to wait with for a device that has nothing to say. */
const deviceRetryMs = 20

/** One read of a file, or of a device that never waits, on a thread of the pool. */
export class ReadPooled extends PoolOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #source: StreamSource
  readonly #askedBytes: number
  #memory: Buffer | undefined = undefined
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    source: StreamSource,
    chunkBytes: number,
    asker: Asker,
    resolve: (value: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#source = source
    this.#askedBytes = Math.min(chunkBytes, source.isOnDisk ? this.maxBytes : waitingPieceBytes)
  }

  override enter(bytes: number): void {
    this.bytes = bytes
    this.#source.turns.enter(this)
  }

  takeTurn(): void {
    const left = this.#source.takeBack(this.#askedBytes)
    if (left === undefined) super.enter(this.#askedBytes)
    else {
      this.succeed(left)
      this.end()
    }
  }

  start(): void {
    this.#memory ??= this.#source.takeMemory(this.#askedBytes)
    fs.read(this.#source.fd, this.#memory, 0, this.#askedBytes, null, (error, bytes) => {
      this.leave()
      if (error === null) this.#took(bytes)
      else if (this.aborted) this.end()
      else if (error.errno === EAGAIN) this.#retry()
      else {
        this.fail(this.#source.path === undefined ? error : withPath(error, this.#source.path))
        this.end()
      }
    })
  }

  #took(bytes: number): void {
    const piece = this.#source.cut(this.#memory!, bytes)
    this.#memory = undefined
    if (this.aborted) this.#source.giveBack(piece)
    else this.succeed(piece)
    this.end()
  }

  #retry(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      super.enter(this.#askedBytes)
    }, deviceRetryMs)
  }

  protected override stop(): void {
    if (this.#source.turns.has(this) && this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.end()
  }

  end(): void {
    this.#source.turns.leave(this)
  }
}

/** Writes all of the bytes to a file or a device, piece by piece. */
export class WritePooled extends PoolOperation<void> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #path: string | Buffer | undefined
  readonly #data: Uint8Array
  readonly #lengthBytes: number
  #doneBytes = 0

  constructor(
    fd: number,
    path: string | Buffer | undefined,
    data: Uint8Array,
    asker: Asker,
    resolve: (value: void) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#data = data
    this.#lengthBytes = data.byteLength
  }

  /** What the lane counts the next write as. */
  get nextBytes(): number {
    return Math.min(this.#lengthBytes - this.#doneBytes, this.maxBytes)
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#data.byteLength !== this.#lengthBytes) throw detached()
    fs.write(this.#fd, this.#data, this.#doneBytes, this.bytes, null, this.#wrote)
  }

  readonly #wrote = (error: Failure, bytes: number): void => {
    this.leave()
    if (error === null) this.#doneBytes += bytes
    if (error === null && this.#doneBytes === this.#lengthBytes) {
      this.aborted = false // all of it is written: that has happened, whatever came meanwhile
      this.succeed(undefined)
    } else if (this.aborted) this.fail(undefined)
    else if (error !== null) this.fail(this.#path === undefined ? error : withPath(error, this.#path))
    else if (bytes === 0) this.fail(systemError(EIO, 'write', this.#path))
    else this.enter(this.nextBytes)
  }

  end(): void {}
}
