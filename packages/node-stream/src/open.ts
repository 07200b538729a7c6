import * as fs from 'node:fs'
import { type Failure, PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Asker } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'

/** Windows has neither. */
const { O_NOCTTY = 0, O_NONBLOCK = 0 } = fs.constants as Partial<typeof fs.constants>
export const noWait = O_NONBLOCK | O_NOCTTY
const ENXIO = errnoOf('ENXIO')
const [firstRetryMs, longestRetryMs] = [1, 50]

export interface OpenedStream {
  fd: number
  stats: fs.Stats
}

/**
 * open and fstat. The open of a FIFO that has no other end yet would keep its thread of the pool, and the end of the
 * process, for ever: so nothing is waited for here. For writing that is ENXIO, and it is tried again.
 * @see fifo(7)
 */
export class OpenStream extends PoolOperation<OpenedStream> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #flags: number
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    path: string | Buffer,
    flags: number,
    asker: Asker,
    resolve: (value: OpenedStream) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#path = path
    this.#flags = flags
  }

  start(): void {
    fs.open(this.#path, this.#flags | noWait, (error, fd) => {
      if (error?.errno === ENXIO) fs.stat(this.#path, (_, stats) => this.#refused(error, stats))
      else if (error !== null) {
        this.leave()
        this.fail(error)
      } else fs.fstat(fd, (error, stats) => this.#opened(fd, error, stats))
    })
  }

  #opened(fd: number, error: Failure, stats: fs.Stats): void {
    if (error !== null || this.aborted) {
      if (error !== null) this.fail(withPath(error, this.#path))
      fs.close(fd, () => this.leave())
    } else {
      this.leave()
      this.succeed({ fd, stats })
    }
  }

  #refused(error: Error, stats: fs.Stats | undefined): void {
    this.leave()
    if (!stats?.isFIFO())
      this.fail(error) // a socket, a device that is not there
    else if (!this.aborted) {
      this.#timer = setTimeout(() => this.enter(0), this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
    }
  }

  protected override stop(): void {
    clearTimeout(this.#timer)
  }

  end(): void {}
}
