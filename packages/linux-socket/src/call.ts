import { ring } from '@kiruna/linux-uring/ring'
import { type Completion, EINTR, prepSocket } from '@kiruna/linux-uring/sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Rank } from '@kiruna/priority'

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

/**
 * A new socket.
 * @param syscall the name of the function that was called, for errors
 * @returns its fd, close-on-exec
 * @see socket(2)
 */
export function openSocket(
  family: number,
  type: number,
  rank: Rank,
  syscall: string,
  at: SocketAddress,
): Promise<number> {
  const stage = (completion: Completion) => {
    const to = ring()
    prepSocket(to, to.sqe(family, completion, true), type)
    to.submitWithTurn(rank)
  }
  return call(stage, syscall, at)
}

/** @param value a number, or a structure. @returns 0, or a negative errno. @see setsockopt(2) */
export function setsockopt(fd: number, level: number, name: number, value: number | Buffer): number {
  const bytes = typeof value === 'number' ? new Uint8Array(Int32Array.of(value).buffer) : value
  return ring().native.setsockopt(fd, level, name, bytes)
}
