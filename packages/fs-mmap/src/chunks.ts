import { type Asker, askerOf, type Caller, limit } from '@kiruna/priority'
import { checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { outOfRange } from '@kiruna/priority/error'

export interface ChunksOptions {
  /** Where to begin; 0 by default. */
  offsetBytes?: number
  /** How much; by default to the end of the mapping. */
  lengthBytes?: number
  /** The length of a chunk; 256 KiB by default. Only the last may be shorter. */
  chunkBytes?: number
  /** How many bytes of the chunk before each chunk begins with, to find what lies across the border; 0 by default. */
  overlapBytes?: number
}

export interface Chunk {
  /** Where in the mapping `bytes` begins. */
  offsetBytes: number
  /** A view; a copy if the runtime allows no views. */
  bytes: Uint8Array
}

/** Prefaulted at once, or a chunk if that is longer: with less, the two threads would wake each other more often. */
const stepBytes = 1024 * 1024
/** How many steps are prefaulted ahead while the chunks of one are worked on. */
const stepsAhead = 2

/**
 * The chunks are cut from views: the first is this long, and each is twice as long as the one before, up to the
 * maximum. V8 counts a view's window as memory of its own, and collects the whole heap with each 64 MiB of new windows.
 */
const firstViewBytes = 32 * 1024 * 1024
const maxViewBytes = 512 * 1024 * 1024

/** What a scan needs of a mapping. */
interface Source {
  readonly byteLength: number
  readonly torn: boolean
  prefault(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void>
  view(offsetBytes: number, lengthBytes: number): Uint8Array<ArrayBuffer>
  read(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<Buffer>
}

/**
 * @param tornError makes the error of a torn mapping
 * @throws TypeError, RangeError: bad options, at once
 */
export function chunks(
  mapping: Source,
  tornError: () => Error,
  caller: Caller,
  options?: ChunksOptions,
): AsyncGenerator<Chunk, void, void> {
  const { byteLength } = mapping
  const given = ownOptions(options)
  const { offsetBytes = 0, chunkBytes = 256 * 1024, overlapBytes = 0 } = given
  checkInteger(offsetBytes, 'offsetBytes', 0, byteLength)
  const { lengthBytes = byteLength - offsetBytes } = given
  checkInteger(lengthBytes, 'lengthBytes', 0, byteLength - offsetBytes)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  checkInteger(overlapBytes, 'overlapBytes')
  if (overlapBytes >= chunkBytes) throw outOfRange('overlapBytes', 'less than chunkBytes', overlapBytes)
  const end = offsetBytes + lengthBytes
  return inOrder(mapping, tornError, askerOf(caller), offsetBytes, end, chunkBytes, overlapBytes)
}

async function* inOrder(
  mapping: Source,
  tornError: () => Error,
  asker: Asker,
  begin: number,
  end: number,
  chunkBytes: number,
  overlapBytes: number,
): AsyncGenerator<Chunk, void, void> {
  const leaving = new AbortController()
  const caller = limit(asker, { signal: leaving.signal })
  const isCopying = end > begin && !allowsViews(mapping)
  const maxStepBytes = Math.max(stepBytes, chunkBytes)
  const steps: { end: number; done: Promise<void> }[] = []
  let askedEnd = begin
  let residentEnd = begin
  let view = new Uint8Array(0)
  let viewOffset = begin
  let viewBytes = firstViewBytes
  try {
    for (let at = begin; at < end; ) {
      const lengthBytes = Math.min(chunkBytes, end - at)
      while (residentEnd < at + lengthBytes) {
        while (askedEnd < end && steps.length <= stepsAhead) {
          const bytes = Math.min(maxStepBytes, end - askedEnd)
          const done = mapping.prefault(askedEnd, bytes, caller)
          done.catch(ignored) // it is awaited later, or not at all
          steps.push({ end: (askedEnd += bytes), done })
        }
        const step = steps.shift()!
        await step.done
        residentEnd = step.end
      }
      if (isCopying) yield { offsetBytes: at, bytes: await mapping.read(at, lengthBytes, caller) }
      else {
        // The view's length is 0 if the mapping has been resized or closed.
        if (at + lengthBytes > viewOffset + view.byteLength) {
          view = mapping.view(at, Math.min(end - at, Math.max(viewBytes, lengthBytes)))
          viewOffset = at
          viewBytes = Math.min(viewBytes * 2, maxViewBytes)
        }
        yield { offsetBytes: at, bytes: view.subarray(at - viewOffset, at - viewOffset + lengthBytes) }
      }
      if (mapping.torn) throw tornError() // the chunk that was just worked on may have been zeros
      at = at + lengthBytes === end ? end : at + lengthBytes - overlapBytes
    }
  } finally {
    leaving.abort()
  }
}

let viewsAllowed: boolean | undefined

function allowsViews(mapping: Source): boolean {
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
