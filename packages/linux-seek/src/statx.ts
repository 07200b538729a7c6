import type { Stats } from 'node:fs'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { cString, statxBytes } from '@kiruna/linux-uring/sqe'
import { statsOf } from '@kiruna/linux-uring/stats'
import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import type { InUse } from '@kiruna/priority/operation'

type Syscall = 'stat' | 'lstat' | 'fstat'

/** @see statx(2) */
export class Statx extends RingOperation<Stats> {
  protected readonly ownsBuffer = true
  readonly #syscall: Syscall
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #inUse: InUse | undefined
  #name: Buffer | undefined = undefined
  #status: Buffer | undefined = undefined

  /** @param syscall node:fs's name for it; 'fstat': of `fd`, and `path` is for errors only */
  constructor(
    syscall: Syscall,
    fd: number,
    path: string | Buffer,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: (stats: Stats) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#syscall = syscall
    this.#fd = fd
    this.#path = path
    this.#inUse = inUse
  }

  start(): void {
    if (this.#syscall !== 'fstat') this.#name = cString(this.#path)
    this.#status = Buffer.allocUnsafe(statxBytes)
    this.ring.statx(this.#fd, this.#name, this.#status, this, this.#syscall !== 'lstat')
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, this.#syscall, this.#path))
    else this.succeed(statsOf(this.#status!))
    this.end()
  }

  end(): void {
    this.#inUse?.leave()
  }
}
