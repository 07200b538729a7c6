import { rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { Operation } from '@kiruna/priority/operation'

export type Failure = NodeJS.ErrnoException | null
export type Resolve<T> = (value: T) => void
export type Reject = (reason: unknown) => void

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
