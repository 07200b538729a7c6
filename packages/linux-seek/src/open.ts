import { constants } from 'node:fs'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { cString, ENXIO } from '@kiruna/linux-uring/sqe'
import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { File } from './file.ts'

/** @see openat(2) */
export class Open extends RingOperation<File> {
  protected readonly ownsBuffer: boolean
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #mode: number
  #name: Buffer | undefined = undefined // held until the kernel has it
  #mayWait = false

  /** @param keeps an abort that comes too late does not hide the file: it has been made, or emptied */
  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    keeps: boolean,
    caller: Caller,
    resolve: (file: File) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#mode = mode
    this.ownsBuffer = !keeps
  }

  start(): void {
    this.#name = cString(this.#path)
    this.ring.openat(this.#name, this.#flags, this.#mode, this, this.#mayWait)
  }

  complete(result: number): void {
    this.leave()
    if (result === ENXIO && !this.#mayWait && !this.aborted && (this.#flags & constants.O_NONBLOCK) === 0) {
      // Tried without waiting, a FIFO that nobody reads says so: fifo(7).
      this.#mayWait = true
      this.enter(0)
    } else if (result < 0) {
      if (!this.retry(result, () => this.enter(0))) this.fail(systemError(result, 'open', this.#path))
    } else if (this.aborted && this.ownsBuffer) this.ring.close(result)
    else this.commit(new File(result, this.#path, (this.#flags & constants.O_DIRECT) !== 0))
  }

  end(): void {}
}
