import { type Asker, askerOf, type Caller, limit } from '@kiruna/priority'
import { checkInteger } from '@kiruna/priority/arguments'
import { outOfRange } from '@kiruna/priority/error'
import { tornError } from './mapped.ts'
import type { Mapping } from './mmap.ts'

export interface ChunksOptions {
  /** Where to begin; 0. */
  offsetBytes?: number
  /** How much; to the end of the mapping. */
  lengthBytes?: number
  /** The length of a chunk; 256 KiB. Only the last may be shorter. */
  chunkBytes?: number
  /** Each chunk begins with so many bytes of the one before, for what may lie across the border; 0. */
  overlapBytes?: number
}

export interface Chunk {
  /** Where in the mapping `bytes` begins. */
  offsetBytes: number
  /** A view; where the runtime allows none, a copy. */
  bytes: Uint8Array
}

/** The pages are brought in by so much at once, or a chunk: by less, this thread and the other wake each other more. */
const stepBytes = 1024 * 1024
/** So many steps are on their way while the chunks of one are worked on. */
const stepsAhead = 2

/**
 * The chunks are cut from views of so much at first, of twice as much each time, of so much at last: V8 counts a view's
 * window as memory of its own, and with 64 MiB of new ones it collects the whole heap, however many they are.
 */
const leastViewBytes = 32 * 1024 * 1024
const mostViewBytes = 512 * 1024 * 1024

/** @throws TypeError, RangeError: bad options, at once */
export function chunks(
  mapping: Mapping,
  path: string | Buffer,
  caller: Caller,
  options: ChunksOptions = {},
): AsyncGenerator<Chunk, void, void> {
  const { byteLength } = mapping
  const { offsetBytes = 0, chunkBytes = 256 * 1024, overlapBytes = 0 } = options
  checkInteger(offsetBytes, 'offsetBytes', 0, byteLength)
  const { lengthBytes = byteLength - offsetBytes } = options
  checkInteger(lengthBytes, 'lengthBytes', 0, byteLength - offsetBytes)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  checkInteger(overlapBytes, 'overlapBytes')
  if (overlapBytes >= chunkBytes) throw outOfRange('overlapBytes', 'less than chunkBytes', overlapBytes)
  return inOrder(
    mapping,
    path,
    askerOf(caller),
    offsetBytes,
    offsetBytes + lengthBytes,
    chunkBytes,
    overlapBytes,
  )
}

async function* inOrder(
  mapping: Mapping,
  path: string | Buffer,
  asker: Asker,
  begin: number,
  end: number,
  chunkBytes: number,
  overlapBytes: number,
): AsyncGenerator<Chunk, void, void> {
  const left = new AbortController()
  const ours = limit(asker, { signal: left.signal })
  const isCopying = end > begin && !allowsViews(mapping)
  const mostBytes = Math.max(stepBytes, chunkBytes)
  const steps: { end: number; done: Promise<void> }[] = []
  let asked = begin
  let resident = begin
  let view = new Uint8Array(0)
  let viewed = begin
  let viewBytes = leastViewBytes
  try {
    for (let at = begin; at < end; ) {
      const lengthBytes = Math.min(chunkBytes, end - at)
      while (resident < at + lengthBytes) {
        while (asked < end && steps.length <= stepsAhead) {
          const bytes = Math.min(mostBytes, end - asked)
          const done = mapping.prefault(asked, bytes, ours)
          done.catch(ignored) // it is awaited in its turn, or nobody wants it any more
          steps.push({ end: (asked += bytes), done })
        }
        const step = steps.shift()!
        await step.done
        resident = step.end
      }
      if (isCopying) yield { offsetBytes: at, bytes: await mapping.read(at, lengthBytes, ours) }
      else {
        // It is of length 0 when the mapping has been resized or closed.
        if (at + lengthBytes > viewed + view.byteLength) {
          view = mapping.view(at, Math.min(end - at, Math.max(viewBytes, lengthBytes)))
          viewed = at
          viewBytes = Math.min(viewBytes * 2, mostViewBytes)
        }
        yield { offsetBytes: at, bytes: view.subarray(at - viewed, at - viewed + lengthBytes) }
      }
      // What has just been worked on may have been zeros by then.
      if (mapping.torn) throw tornError(path)
      at = at + lengthBytes === end ? end : at + lengthBytes - overlapBytes
    }
  } finally {
    left.abort()
  }
}

let viewsAllowed: boolean | undefined

function allowsViews(mapping: Mapping): boolean {
  try {
    if (viewsAllowed === undefined) mapping.view(0, 1)
    viewsAllowed ??= true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_KIRUNA_UNAVAILABLE') throw error
    viewsAllowed = false
  }
  return viewsAllowed
}

const ignored = () => {}
