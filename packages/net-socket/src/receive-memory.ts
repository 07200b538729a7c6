/** Most of what comes is smaller than this, and is copied out. */
export const smallBytes = 4 * 1024
/** What a receive takes of more. */
export const largeBytes = 64 * 1024

const blockBytes = 64 * 1024

/** Memory to receive into, for the moment that a receive is in the kernel: what waits for a peer holds none. */
const small: Buffer[] = []
let large: Buffer | undefined

/** What has been copied out is cut from this. */
let block = Buffer.allocUnsafeSlow(0)
let blockUsed = 0

export function takeMemory(bytes: number): Buffer {
  if (bytes > smallBytes) {
    const memory = large ?? Buffer.allocUnsafeSlow(largeBytes)
    large = undefined
    return memory
  }
  if (small.length === 0) {
    const slab = Buffer.allocUnsafeSlow(blockBytes)
    for (let at = 0; at < slab.length; at += smallBytes) small.push(slab.subarray(at, at + smallBytes))
  }
  return small.pop()!
}

/** Nothing has come. */
export function giveBack(memory: Buffer): void {
  if (memory.length === smallBytes) small.push(memory)
  else large = memory
}

/** So many bytes have come: the reader's own from now on. Much is handed over as it is, little is copied out. */
export function cut(memory: Buffer, bytes: number): Buffer {
  if (bytes > largeBytes / 2) return memory.subarray(0, bytes)
  const piece = bytes > smallBytes ? Buffer.allocUnsafeSlow(bytes) : cutBlock(bytes)
  memory.copy(piece, 0, 0, bytes)
  giveBack(memory)
  return piece
}

function cutBlock(bytes: number): Buffer {
  if (blockUsed + bytes > block.length) {
    block = Buffer.allocUnsafeSlow(blockBytes)
    blockUsed = 0
  }
  const piece = block.subarray(blockUsed, blockUsed + bytes)
  blockUsed += (bytes + 7) & ~7
  return piece
}
