import type { Waiting } from '@kiruna/net-socket/waiting'
import { Batch } from '@kiruna/priority/batch'

const batch = new Batch<Waiting<never>>()
let batchCount = 0

/**
 * What has come in one turn of the event loop is settled together:
 *
 *     libuv's callbacks, one by one ─► batch ─► setImmediate: settled, most urgent first
 *
 * The check phase follows the poll phase, in which libuv makes all the callbacks of a turn.
 * @see https://docs.libuv.org/en/v1.x/design.html
 */
export function handOver(one: Waiting<never>): void {
  if (batch.add(one)) setImmediate(deliverBatch)
}

/** Which batch a piece that is handed over now is in. */
export function thisBatch(): number {
  return batchCount
}

function deliverBatch(): void {
  batchCount++
  batch.deliver()
}
