import { type Completion, ring } from '@kiruna/linux-uring/ring'
import { EINTR } from '@kiruna/linux-uring/sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { socketError } from '@kiruna/net-socket/socket-error'

/** One call on the ring, for what is done once a socket: its promise settles in the turn of its completion. */
export class Call implements Completion {
  slot = -1
  readonly result: Promise<number>
  #resolve!: (result: number) => void

  /** @param stage fills the submission */
  constructor(stage: (completion: Completion) => void) {
    this.result = new Promise(resolve => (this.#resolve = resolve))
    stage(this)
  }

  complete(result: number): void {
    this.#resolve(result)
  }

  /** Its result comes in any case. */
  cancel(): void {
    ring().cancel(this)
  }
}

/** @throws as `checkResult` */
export async function call(
  stage: (completion: Completion) => void,
  syscall: string,
  at?: SocketAddress,
): Promise<number> {
  for (;;) {
    const result = await new Call(stage).result
    if (result !== EINTR) return checkResult(result, syscall, at)
  }
}

/** @throws what the kernel says, as node:net gives it: under the name of the function that was called */
export function checkResult(result: number, syscall: string, at?: SocketAddress): number {
  if (result < 0) throw socketError(result, syscall, at)
  return result
}
