import { type Caller, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import type { InUse } from '@kiruna/priority/operation'
import { ECANCELED } from './dispatch.ts'
import type { Native } from './native.ts'
import { DispatchOperation } from './operation.ts'

/** What a system call is about: its name as node:fs has it, the path for errors, and who must not close meanwhile. */
export interface About {
  syscall: string
  path?: string | Buffer
  inUse?: InUse
}

/** An operation that is one system call, on a thread of GCD's. */
export class Call<T> extends DispatchOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #about: About
  readonly #call: (native: Native, id: number, rank: number) => void
  readonly #read: ((value: Buffer) => T) | undefined

  /** @param read makes the outcome of what was found. Without it, the call does something to a file: begun, it has the
   *   outcome that the OS gives it, whatever the signal says by then */
  constructor(
    about: About,
    call: (native: Native, id: number, rank: number) => void,
    read: ((value: Buffer) => T) | undefined,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#about = about
    this.#call = call
    this.#read = read
    this.ownsBuffer = read !== undefined
  }

  start(): void {
    this.gcd.stage(this)
  }

  submit(): void {
    if (this.aborted) this.complete(ECANCELED, undefined)
    else this.#call(this.gcd.native, this.gcd.begin(this), rankOf(this.asker.priority))
  }

  complete(result: number, value: Buffer | undefined): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, this.#about.syscall, this.#about.path))
    else if (this.#read === undefined) this.commit(undefined as T)
    else this.succeed(this.#read(value!))
    this.end()
  }

  end(): void {
    this.#about.inUse?.leave()
  }
}

/** A path as C takes it. */
export function pathBytes(path: string | Buffer): Buffer {
  return typeof path === 'string' ? Buffer.from(path) : path
}
