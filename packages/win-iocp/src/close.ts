import { systemError } from '@kiruna/priority/error'
import { type Completion, port } from './iocp.ts'

/**
 * Nobody is in its way: it takes nothing from the disk, so it passes by the lane.
 * @see https://learn.microsoft.com/windows/win32/api/handleapi/nf-handleapi-closehandle
 */
export class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  /** @param file its number: from here on it may be another file's */
  constructor(
    file: number,
    path: string | Buffer = '',
    resolve: () => void = nothing,
    reject: (reason: unknown) => void = nothing,
  ) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    port().native.close(port().begin(this), 1, file)
  }

  complete(result: number): void {
    if (result < 0) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}

const nothing = () => {}
