import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import type { InUse } from '@kiruna/priority/in-use'
import { Operation } from '@kiruna/priority/operation'

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void

/** What is to have node:fs's own shape: its call on libuv's thread pool, behind the lane. */
export class PoolCall<T> extends Operation<T> {
  override pooled = true
  protected readonly ownsBuffer: boolean
  readonly #call: (done: Done<T>) => void
  readonly #path: string | Buffer
  readonly #changes: boolean
  readonly #inUse: InUse | undefined

  /**
   * @param path for errors, where node:fs knows only a descriptor
   * @param changes it does something to the file: once begun, it has the outcome that the OS gives it
   */
  constructor(
    call: (done: Done<T>) => void,
    path: string | Buffer,
    changes: boolean,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#call = call
    this.#path = path
    this.#changes = changes
    this.#inUse = inUse
    this.ownsBuffer = !changes
  }

  start(): void {
    this.#call((error, value) => {
      this.leave()
      if (error !== null)
        this.fail(error.path === undefined ? systemError(error.errno!, error.syscall!, this.#path) : error)
      else if (this.#changes) this.takeEffect(value)
      else this.succeed(value)
      this.end()
    })
  }

  protected stop(): void {}

  end(): void {
    this.#inUse?.leave()
  }
}
