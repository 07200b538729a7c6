import { type Caller, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import type { InUse } from '@kiruna/priority/in-use'
import { Operation } from '@kiruna/priority/operation'

export type Failure = NodeJS.ErrnoException | null
export type Resolve<T> = (value: T) => void
export type Reject = (reason: unknown) => void

/** The system is short of something: it is asked again after so long. */
const pauseMs = 1

/** Completed in this turn of the event loop, by rank. */
const batch: PoolOperation<unknown>[][] = [[], [], [], []]
let batchDue = false

/**
 * A disk operation on libuv's thread pool: it goes through the lane, and is settled with its batch.
 *
 *     pool thread ─► node:fs's callback, one by one ─► batch ─► setImmediate: settled, most urgent first
 *
 * The check phase follows the poll phase, in which libuv makes all the callbacks of a turn.
 * @see https://docs.libuv.org/en/v1.x/design.html
 */
export abstract class PoolOperation<T> extends Operation<T> {
  override pooled = true

  /** A pool thread that waits in a system call cannot be called back. */
  protected stop(): void {}

  /** The system was interrupted, or is short of something: calls `again`, and says whether it does. */
  protected retry(error: NodeJS.ErrnoException, again: () => void): boolean {
    if (this.aborted || (error.code !== 'EINTR' && error.code !== 'EAGAIN')) return false
    setTimeout(() => {
      if (!this.aborted) return again()
      this.fail(error)
      this.end()
    }, pauseMs)
    return true
  }

  protected override handOver(): void {
    if (this.aborted) {
      this.deliver()
      return
    }
    batch[rankOf(this.asker.priority)]!.push(this)
    if (!batchDue) setImmediate(deliverBatch)
    batchDue = true
  }
}

/** An operation that is one call of node:fs. */
export class PoolCall<T> extends PoolOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #call: (done: (error: Failure, value: T) => void) => void
  readonly #path: string | Buffer
  readonly #changes: boolean
  readonly #inUse: InUse | undefined

  /**
   * @param path for errors, where node:fs knows only a descriptor
   * @param changes it does something to the file: once begun, it has the outcome that the OS gives it
   */
  constructor(
    call: (done: (error: Failure, value: T) => void) => void,
    path: string | Buffer,
    changes: boolean,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: Resolve<T>,
    reject: Reject,
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
      if (error !== null) {
        if (this.retry(error, () => this.enter(0))) return
        this.fail(withPath(error, this.#path))
      } else if (this.#changes) this.takeEffect(value)
      else this.succeed(value)
      this.end()
    })
  }

  end(): void {
    this.#inUse?.leave()
  }
}

function deliverBatch(): void {
  batchDue = false
  for (const operations of batch) {
    for (const operation of operations.splice(0)) operation.deliver()
  }
}

/** node:fs gives no path where it only knows a descriptor. */
export function withPath(error: NodeJS.ErrnoException, path: string | Buffer): Error {
  return error.path === undefined ? systemError(error.errno!, error.syscall!, path) : error
}
