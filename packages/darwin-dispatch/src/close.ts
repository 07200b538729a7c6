import { systemError } from '@kiruna/priority/error'
import { type Completion, dispatcher, EINTR } from './dispatch.ts'

/** Nobody waits behind it: it takes nothing from the disk, so it passes by the lane. @see close(2) */
export class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  constructor(
    fd: number,
    path: string | Buffer,
    resolve: () => void = nothing,
    reject: (reason: unknown) => void = nothing,
  ) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    const gcd = dispatcher()
    gcd.native.close(gcd.begin(this), rank, fd)
  }

  complete(result: number): void {
    // It is closed even where close(2) says EINTR.
    if (result < 0 && result !== EINTR) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}

/** user-blocking: others may wait for a free descriptor. */
const rank = 1
const nothing = () => {}
