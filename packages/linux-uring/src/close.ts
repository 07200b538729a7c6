import { systemError } from '@kiruna/priority/error'
import { ring } from './ring.ts'
import { type Completion, EINTR } from './sqe.ts'

/** Nobody is in its way: it takes nothing from the disk, so it passes by the lane. @see close(2) */
export class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  constructor(fd: number, path: string | Buffer, resolve: () => void, reject: (reason: unknown) => void) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    ring().close(fd, this)
  }

  complete(result: number): void {
    // Linux has closed the fd even where it says EINTR.
    if (result < 0 && result !== EINTR) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}
