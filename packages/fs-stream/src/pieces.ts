import { type Asker, limit } from '@kiruna/priority'
import type { PathLike } from '@kiruna/priority/arguments'
import { fileTooLarge, largestFileBytes } from '@kiruna/priority/error'
import { checkPathOrFd } from './stream-source.ts'

/** A source that has been opened. */
export interface Reading {
  /** One read: an empty Buffer is the end. */
  read(asker: Asker): Promise<Buffer>
  close(): void
}

/**
 * The bytes of a source: each `next` is one read. A `return` while a read is pending ends that read: its `next` is the
 * end, and if it has taken bytes all the same, they are for the next reader.
 * @param open runs at the first `next`
 */
export function pieces(
  open: (asker: Asker) => Promise<Reading>,
  asker: Asker,
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const returned = new AbortController()
  const iterator = inOrder(open, limit(asker, { signal: returned.signal }), returned.signal)
  return {
    next: () => iterator.next(),
    return() {
      returned.abort()
      return iterator.return(undefined)
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

async function* inOrder(
  open: (asker: Asker) => Promise<Reading>,
  asker: Asker,
  returned: AbortSignal,
): AsyncGenerator<Buffer, undefined, undefined> {
  let reading: Reading | undefined
  try {
    reading = await open(asker)
    for (;;) {
      const bytes = await reading.read(asker)
      if (bytes.length === 0) return
      yield bytes
    }
  } catch (error) {
    if (!returned.aborted || error !== returned.reason) throw error
  } finally {
    reading?.close()
  }
}

/** All of a source. @throws RangeError ERR_FS_FILE_TOO_LARGE */
export async function concatenate(source: PathLike | number, chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  let lengthBytes = 0
  for await (const bytes of chunks) {
    lengthBytes += bytes.length
    if (lengthBytes > largestFileBytes) throw fileTooLarge(String(checkPathOrFd(source)), largestFileBytes)
    all.push(bytes)
  }
  if (all.length === 1) return all[0]!
  const whole = Buffer.allocUnsafeSlow(lengthBytes) // Buffer.concat takes from the pool
  let at = 0
  for (const bytes of all) {
    whole.set(bytes, at)
    at += bytes.length
  }
  return whole
}
