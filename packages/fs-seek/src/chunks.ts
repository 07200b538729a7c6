import { type Asker, askerOf, type Caller, limit } from '@kiruna/priority'
import { checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { outOfRange } from '@kiruna/priority/error'

export interface ChunksOptions {
  /** Where to begin; 0 by default. */
  position?: number
  /** How much to read; by default to the end of the file. */
  lengthBytes?: number
  /** The length of a chunk; 256 KiB by default. Only the last may be shorter. */
  chunkBytes?: number
  /** How many bytes of the chunk before each chunk begins with, to find what lies across the border; 0 by default. */
  overlapBytes?: number
}

export interface Chunk {
  /** Where in the file `bytes` begins. */
  position: number
  bytes: Buffer
}

type Read = (buffer: Buffer, position: number, caller: Caller) => Promise<number>

const readAhead = 2

/**
 * A file in order, read ahead: while you work on one chunk, the next ones are read. Leaving the loop cancels them.
 * @throws TypeError, RangeError: bad options, at once
 */
export function chunks(
  read: Read,
  caller: Caller,
  options?: ChunksOptions,
): AsyncGenerator<Chunk, void, void> {
  const {
    position = 0,
    lengthBytes = Number.MAX_SAFE_INTEGER,
    chunkBytes = 256 * 1024,
    overlapBytes = 0,
  } = ownOptions(options)
  checkInteger(position, 'position')
  checkInteger(lengthBytes, 'lengthBytes')
  checkInteger(chunkBytes, 'chunkBytes', 1)
  checkInteger(overlapBytes, 'overlapBytes')
  if (overlapBytes >= chunkBytes) throw outOfRange('overlapBytes', 'less than chunkBytes', overlapBytes)
  return inOrder(read, askerOf(caller), position, lengthBytes, chunkBytes, overlapBytes)
}

async function* inOrder(
  read: Read,
  asker: Asker,
  position: number,
  lengthBytes: number,
  chunkBytes: number,
  overlapBytes: number,
): AsyncGenerator<Chunk, void, void> {
  const cancellation = new AbortController()
  const ours = limit(asker, { signal: cancellation.signal })
  const ahead: Promise<Chunk>[] = []
  let begun = 0
  const begin = () => {
    const bytes = Buffer.allocUnsafeSlow(Math.min(chunkBytes, lengthBytes - begun))
    const at = position + begun
    const chunk = read(bytes, at, ours).then(count => ({ position: at, bytes: bytes.subarray(0, count) }))
    chunk.catch(ignored) // it is awaited later, or not at all
    ahead.push(chunk)
    begun = bytes.length < chunkBytes ? lengthBytes : begun + chunkBytes - overlapBytes
  }
  try {
    for (let first = true; ; first = false) {
      while (ahead.length < readAhead && begun < lengthBytes) begin()
      const chunk = await ahead.shift()
      // At the end of the file a chunk may have nothing new beyond its overlap.
      if (chunk === undefined || chunk.bytes.length <= (first ? 0 : overlapBytes)) return
      yield chunk
      if (chunk.bytes.length < chunkBytes) return
    }
  } finally {
    cancellation.abort()
  }
}

const ignored = () => {}
