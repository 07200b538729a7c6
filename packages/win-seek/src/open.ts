import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { Close } from '@kiruna/win-iocp/close'
import { createFile, isDirect, widePath } from '@kiruna/win-iocp/create-file'
import { PortOperation } from '@kiruna/win-iocp/operation'
import { File } from './file.ts'

/** @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew */
export class Open extends PortOperation<File> {
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
    createFile(this.port, this, this.rank, widePath(this.#path), this.#flags, this.#mode)
  }

  complete(result: number): void {
    this.leave()
    if (result < 0) {
      if (!this.retry(result, () => this.enter(0))) this.fail(systemError(result, 'open', this.#path))
    } else if (this.aborted && this.ownsBuffer) new Close(result)
    else this.commit(new File(result, this.#path, isDirect(this.#flags)))
  }

  end(): void {}
}
