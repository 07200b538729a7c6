import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { Operation } from '@kiruna/priority/operation'

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void

/** What io_uring has no call for: node:fs's own on libuv's thread pool, behind the lane. */
export class PoolCall<T> extends Operation<T> {
  override pooled = true
  protected readonly ownsBuffer: boolean
  readonly #call: (done: Done<T>) => void
  readonly #path: string | Buffer
  readonly #changes: boolean

  /**
   * @param path for errors, where node:fs knows only a descriptor
   * @param changes it does something to the file: once begun, it has the outcome that the OS gives it
   */
  constructor(
    call: (done: Done<T>) => void,
    path: string | Buffer,
    changes: boolean,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#call = call
    this.#path = path
    this.#changes = changes
    this.ownsBuffer = !changes
  }

  start(): void {
    this.#call((error, value) => {
      this.leave()
      if (error !== null)
        this.fail(error.path === undefined ? systemError(error.errno!, error.syscall!, this.#path) : error)
      else if (this.#changes) this.takeEffect(value)
      else this.succeed(value)
    })
  }

  protected stop(): void {}

  end(): void {}
}
