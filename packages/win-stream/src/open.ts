import { constants } from 'node:fs'
import type { Asker } from '@kiruna/priority'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { Close } from '@kiruna/win-iocp/close'
import { createFile, isConsolePath, isPipePath, widePath } from '@kiruna/win-iocp/create-file'
import { PortOperation } from '@kiruna/win-iocp/operation'

const EBUSY = errnoOf('EBUSY')
const [firstRetryMs, longestRetryMs] = [1, 50]

export interface OpenedStream {
  handle: number
  isOnDisk: boolean
}

/**
 * Opens a path as a stream. A named pipe whose instances are all taken says that it is busy, and is tried again: to wait
 * for it would hold a thread.
 * @see https://learn.microsoft.com/windows/win32/ipc/named-pipe-client
 */
export class OpenStream extends PortOperation<OpenedStream> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #widePath: string
  readonly #flags: number
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
    this.#widePath = widePath(path)
    // What is no file is there already, and cannot be made or emptied.
    if (isConsolePath(this.#widePath)) this.#flags = constants.O_RDWR
    else if (isPipePath(this.#widePath)) this.#flags = flags & ~(constants.O_CREAT | constants.O_TRUNC)
    else this.#flags = flags
  }

  start(): void {
    createFile(this.port, this, this.rank, this.#widePath, this.#flags, 0o666)
  }

  complete(result: number): void {
    this.leave()
    if (this.aborted) {
      if (result >= 0) new Close(result)
    } else if (result >= 0) {
      this.succeed({ handle: result, isOnDisk: this.port.native.isDisk(result) })
    } else if (result === EBUSY && isPipePath(this.#widePath)) this.#retry()
    else if (!this.retry(result, () => this.enter(0))) this.fail(systemError(result, 'open', this.#path))
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
