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

/** So much is on its way while a chunk is worked on, and two chunks at least. */
const readAheadBytes = 2 * 1024 * 1024

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
  const ahead: Promise<Chunk>[] = []
  const mostAhead = 2 + Math.floor(readAheadBytes / chunkBytes)
  let next = begin
  const isCopying = end > begin && !allowsViews(mapping)
  const prepare = (offsetBytes: number, lengthBytes: number): Promise<Chunk> =>
    isCopying
      ? mapping.read(offsetBytes, lengthBytes, ours).then(bytes => ({ offsetBytes, bytes }))
      : mapping
          .prefault(offsetBytes, lengthBytes, ours)
          .then(() => ({ offsetBytes, bytes: mapping.view(offsetBytes, lengthBytes) }))
  try {
    while (next < end || ahead.length > 0) {
      while (next < end && ahead.length < mostAhead) {
        const lengthBytes = Math.min(chunkBytes, end - next)
        const chunk = prepare(next, lengthBytes)
        chunk.catch(ignored) // it is awaited in its turn, or nobody wants it any more
        ahead.push(chunk)
        next = next + lengthBytes === end ? end : next + lengthBytes - overlapBytes
      }
      yield (await ahead.shift())!
      // What has just been worked on may have been zeros by then.
      if (mapping.torn) throw tornError(path)
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
