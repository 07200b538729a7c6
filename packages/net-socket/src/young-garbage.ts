import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** What is handed out between two collections. */
const garbageBytes = 16 * 1024 * 1024
/** A collection of more than this takes milliseconds: then V8 decides. */
const largestYoungBytes = 4 * 1024 * 1024

type Collect = (options: { type: 'minor' }) => void

let bytesSince = 0
let collect: Collect | 'missing' | undefined

/**
 * Counts memory that a reader has been given. It lies outside of V8's heap, where V8 counts it as the heap's own growth:
 * a flow of 64 KiB pieces makes it collect the whole heap again and again, 10 ms each, although all of them died young.
 * So the young are collected now and then, 0.1 to 0.3 ms each.
 */
export function countGarbage(lengthBytes: number): void {
  bytesSince += lengthBytes
  if (bytesSince < garbageBytes) return
  bytesSince = 0
  collect ??= find()
  if (collect !== 'missing' && youngBytes() < largestYoungBytes) collect({ type: 'minor' })
}

function youngBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_used_size ?? 0
}

/** V8 gives `gc` to contexts that are made while its flag is set. */
function find(): Collect | 'missing' {
  if (globalThis.gc !== undefined) return globalThis.gc as Collect
  try {
    setFlagsFromString('--expose-gc')
    return runInNewContext('gc') as Collect
  } catch {
    return 'missing' // Bun, Deno
  } finally {
    setFlagsFromString('--no-expose-gc')
  }
}
