import { readSync } from 'node:fs'

const blockBytes = 4096

/** O_DIRECT takes only memory that begins at a block: where that is, a file opened with it tells. */
export function aligned(bytes: number, directFd: number): Uint8Array {
  const memory = new ArrayBuffer(bytes + blockBytes)
  for (let start = 0; ; start += 16) {
    try {
      readSync(directFd, new Uint8Array(memory, start), 0, blockBytes, 0)
      return new Uint8Array(memory, start, bytes)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL' || start > blockBytes) throw error
    }
  }
}
