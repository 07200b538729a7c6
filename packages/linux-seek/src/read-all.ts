import { constants } from 'node:fs'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { cString, statxBytes } from '@kiruna/linux-uring/sqe'
import { statxSize } from '@kiruna/linux-uring/stats'
import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { scanBytes } from './read.ts'

/**
 * open, read until 0, close. The lane admits the open with the first piece and, where that was short, with the read
 * that finds the end: most files are done then. One that fills the landing and a guess beyond it is asked for its size.
 */
export class ReadAll extends RingOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'statx' = 'open'
  #fd = -1
  #content: GrowingBuffer | undefined = undefined
  #memory: Buffer | undefined = undefined // held while the kernel reads the path, or writes the status
  #askedBytes = 0
  /** What the lane has admitted includes a short read already: another is no more than the one that finds the end. */
  #readOnce = false
  /** The kernel may: see Read. */
  #readsAhead = true

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
    if (this.#step === 'open') {
      this.#memory = cString(this.#path)
      this.ring.openat(this.#memory, constants.O_RDONLY, 0, this)
    } else if (this.#step === 'statx') {
      this.#memory = Buffer.allocUnsafe(statxBytes)
      this.ring.statx(this.#fd, undefined, this.#memory, this)
    } else {
      const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
      this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes)
      if (this.#readsAhead && this.laneRank > 1 && this.#askedBytes >= scanBytes) {
        this.#readsAhead = false
        this.ring.fadvise(this.#fd, false)
      }
      const address = this.ring.addressOf(content.memory) + content.lengthBytes
      this.ring.read(this.#fd, address, this.#askedBytes, content.lengthBytes, this)
    }
  }

  complete(result: number): void {
    if (this.#step === 'open' && result >= 0) this.#fd = result
    try {
      if (this.aborted) this.#finish()
      else if (this.retry(result, () => this.start())) return
      else if (result < 0) {
        throw systemError(result, this.#step === 'statx' ? 'fstat' : this.#step, this.#path)
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
    else if (this.#step === 'statx') {
      content.expect(statxSize(this.#memory!))
      this.#askAgain('read', maxPieceBytes)
    } else if (result === 0) {
      this.succeed(content.take(), content.lengthBytes)
      this.#finish()
    } else {
      content.add(result)
      if (content.outgrown) this.#askAgain('statx', 0)
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

  #askAgain(step: 'read' | 'statx', bytes: number): void {
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
    if (this.#fd !== -1) this.ring.close(this.#fd)
    this.#content?.release()
    this.#content = this.#memory = undefined
  }
}
