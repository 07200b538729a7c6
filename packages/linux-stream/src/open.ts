import { constants, type Stats } from 'node:fs'
import { constants as os } from 'node:os'
import { isOnDisk } from '@kiruna/fs-stream/stream-source'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { cString, EINTR, statxBytes } from '@kiruna/linux-uring/sqe'
import { statsOf } from '@kiruna/linux-uring/stats'
import type { Asker } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'

const { O_CREAT, O_NOCTTY, O_NONBLOCK } = constants
const ENOENT = -os.errno.ENOENT
const ENXIO = -os.errno.ENXIO
const [firstRetryMs, longestRetryMs] = [1, 50]

export interface OpenedStream {
  fd: number
  /** undefined: it is new, and so it is a file. */
  stats: Stats | undefined
}

/**
 * Opens a path as a stream: statx, then openat. What is not on a disk is opened without waiting, which is for reads and
 * writes to do; a file is not, as io_uring takes its O_NONBLOCK at its word.
 * A FIFO that nobody reads cannot be opened for writing like that: ENXIO. So it is tried again.
 * @see fifo(7)
 */
export class OpenStream extends RingOperation<OpenedStream> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #name: Buffer // held until the kernel has it
  #status: Buffer | undefined = Buffer.allocUnsafe(statxBytes)
  #stats: Stats | undefined = undefined
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    path: string | Buffer,
    flags: number,
    asker: Asker,
    resolve: (opened: OpenedStream) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#name = cString(path)
  }

  start(): void {
    if (this.#status !== undefined) {
      this.ring.statx(-1, this.#name, this.#status, this)
      return
    }
    const isFile = this.#stats === undefined || isOnDisk(this.#stats)
    const flags = isFile ? this.#flags : this.#flags | O_NONBLOCK | O_NOCTTY
    this.ring.openat(this.#name, flags, 0o666, this)
  }

  complete(result: number): void {
    this.leave()
    if (this.aborted) {
      if (this.#status === undefined && result >= 0) this.ring.close(result)
    } else if (result === EINTR) this.enter(0)
    else if (this.#status !== undefined) this.#found(result)
    else if (result >= 0) this.succeed({ fd: result, stats: this.#stats })
    else if (result === ENXIO && this.#stats?.isFIFO()) this.#retry()
    else this.fail(systemError(result, 'open', this.#path))
  }

  #found(result: number): void {
    if (result >= 0) this.#stats = statsOf(this.#status!)
    else if (result !== ENOENT || (this.#flags & O_CREAT) === 0) {
      this.fail(systemError(result, 'open', this.#path))
      return
    }
    this.#status = undefined
    this.enter(0)
  }

  #retry(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.enter(0)
    }, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  protected override stop(): void {
    if (this.#timer === undefined) super.stop()
    else clearTimeout(this.#timer)
  }

  end(): void {}
}
