import { constants } from 'node:fs'
import type { Caller } from '@kiruna/priority'
import { Content } from '@kiruna/priority/content'
import { systemError } from '@kiruna/priority/error'
import { pieceBytes } from '@kiruna/priority/lane'
import { RingOperation } from './ring-operation.ts'
import { statxSize } from './stats.ts'
import { cString, EINTR, statxBytes } from './uring.ts'

/** open, read until 0, close; for a file larger than the landing, statx after the first read tells how much to expect. */
export class ReadAll extends RingOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'statx' = 'open'
  #fd = -1
  #content: Content | undefined = undefined
  #memory: Buffer | undefined = undefined // held while the kernel reads or writes it

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
      this.#content ??= new Content(this.#path, this.#maxBytes)
      this.#memory = this.#content.room()
      const address = this.ring.addressOf(this.#memory)
      const askedBytes = Math.min(this.#memory.length, this.mostBytes)
      this.ring.read(this.#fd, address, askedBytes, this.#content.lengthBytes, this)
    }
  }

  complete(result: number): void {
    this.leave()
    if (this.#step === 'open' && result >= 0) this.#fd = result
    if (this.aborted) this.end()
    else if (result === EINTR) this.enter(this.bytes)
    else if (result < 0)
      this.#giveUp(systemError(result, this.#step === 'statx' ? 'fstat' : this.#step, this.#path))
    else {
      try {
        this.#next(result)
      } catch (error) {
        this.#giveUp(error) // too large, or no memory
      }
    }
  }

  #next(result: number): void {
    if (this.#step === 'read') {
      const content = this.#content!
      if (result === 0) {
        this.succeed(content.take(), content.lengthBytes)
        this.end()
        return
      }
      content.add(result)
      if (content.outgrown) {
        this.#step = 'statx'
        this.enter(0)
        return
      }
    } else if (this.#step === 'statx') this.#content!.expect(statxSize(this.#memory!))
    this.#step = 'read'
    this.enter(pieceBytes)
  }

  #giveUp(error: unknown): void {
    this.fail(error)
    this.end()
  }

  end(): void {
    if (this.#fd !== -1) this.ring.close(this.#fd)
    this.#content?.release()
    this.#content = this.#memory = undefined
  }
}
