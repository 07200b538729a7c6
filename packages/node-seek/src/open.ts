import * as fs from 'node:fs'
import { PoolOperation } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { File } from './file.ts'

/** @see open(2) */
export class Open extends PoolOperation<File> {
  protected readonly ownsBuffer: boolean
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #mode: number

  /** @param keeps an abort that comes too late does not hide the file: it has been made, or emptied */
  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    keeps: boolean,
    caller: Caller,
    resolve: (value: File) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#mode = mode
    this.ownsBuffer = !keeps
  }

  start(): void {
    const direct = (this.#flags & fs.constants.O_DIRECT) !== 0
    fs.open(this.#path, this.#flags, this.#mode, (error, fd) => {
      // The close of what nobody wants any more holds a pool thread too: until then it stays in the lane.
      if (error === null && this.aborted && this.ownsBuffer) return fs.close(fd, () => this.leave())
      this.leave()
      if (error === null) this.commit(new File(fd, this.#path, direct))
      else if (!this.retry(error.errno!, () => this.enter(0))) this.fail(error)
    })
  }

  end(): void {}
}
