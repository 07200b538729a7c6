import type { Waiting } from '@kiruna/net-socket/waiting'

/** Has its outcome in this turn of the event loop, by rank. */
const batch: Waiting<never>[][] = [[], [], [], []]
let isDue = false
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
  batch[one.rank]!.push(one)
  if (!isDue) setImmediate(deliverBatch)
  isDue = true
}

/** Which batch a piece that is handed over now is in. */
export function thisBatch(): number {
  return batchCount
}

function deliverBatch(): void {
  isDue = false
  batchCount++
  for (const waiting of batch) {
    for (const one of waiting.splice(0)) one.deliver()
  }
}
