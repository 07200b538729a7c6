import type { Waiting } from '@kiruna/net-socket/waiting'
import { Batch } from '@kiruna/priority/batch'
import { setImmediate } from '@kiruna/priority/timers'

const batch = new Batch<Waiting<never>>()
let batchCount = 0

/**
 * What completes in one turn of the event loop settles together:
 *
 *     libuv's callbacks, one by one ─► batch ─► setImmediate: settled, most urgent first
 *
 * The check phase follows the poll phase, in which libuv makes all the callbacks of a turn.
 * @see https://docs.libuv.org/en/v1.x/design.html
 */
export function handOver(one: Waiting<never>): void {
  const isFirst = batch.isEmpty
  batch.add(one)
  if (isFirst) setImmediate(deliverBatch)
}

/** The number of the batch that is being collected. */
export function thisBatch(): number {
  return batchCount
}

function deliverBatch(): void {
  batchCount++
  batch.deliver()
}
