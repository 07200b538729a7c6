import type { Rank } from '@kiruna/priority'

/** Most of what comes is smaller than this, and is copied out. */
export const smallBytes = 4 * 1024
/** What a receive takes of more. */
export const largeBytes = 64 * 1024

const blockBytes = 64 * 1024

/**
 * So many receives may wait for their peers with memory of their own; all others wait without, and hold some only for the
 * moment that they are in the kernel. Those below user-blocking have their own share: what comes for all of them at once
 * is not to take the kernel long.
 */
const mostWaiting = { urgent: 512, other: 128 }
const waiting = { urgent: 0, other: 0 }

const small: Memory[] = []
let large: Memory | undefined

/** What is copied out goes here, one piece behind the other. */
let block = Buffer.allocUnsafeSlow(0)
let blockUsed = 0

/** Memory that the kernel writes into. */
export interface Memory {
  readonly bytes: Buffer
  /** Where it is, for the ring; 0 until that has asked. */
  address: number
}

export function takeMemory(lengthBytes: number): Memory {
  if (lengthBytes > smallBytes) {
    const memory = large ?? { bytes: Buffer.allocUnsafeSlow(largeBytes), address: 0 }
    large = undefined
    return memory
  }
  if (small.length === 0) {
    const slab = Buffer.allocUnsafeSlow(blockBytes)
    for (let at = 0; at < slab.length; at += smallBytes) {
      small.push({ bytes: slab.subarray(at, at + smallBytes), address: 0 })
    }
  }
  return small.pop()!
}

/** Memory to wait with. undefined: enough do. */
export function takeMemoryToWait(rank: Rank): Memory | undefined {
  const who = rank <= 1 ? 'urgent' : 'other'
  if (waiting[who] >= mostWaiting[who]) return undefined
  waiting[who]++
  return takeMemory(smallBytes)
}

/** One that has waited with memory waits no longer. @param rank as it was then */
export function waitEnded(rank: Rank): void {
  waiting[rank <= 1 ? 'urgent' : 'other']--
}

/** Nothing has come. */
export function giveBack(memory: Memory): void {
  if (memory.bytes.length === smallBytes) small.push(memory)
  else large = memory
}

/** So many bytes have come, and are the reader's own from now on. Much is handed over as it is, little is copied out. */
export function claim(memory: Memory, lengthBytes: number): Buffer {
  if (lengthBytes > largeBytes / 2) return memory.bytes.subarray(0, lengthBytes)
  const piece = lengthBytes > smallBytes ? Buffer.allocUnsafeSlow(lengthBytes) : copyPlace(lengthBytes)
  memory.bytes.copy(piece, 0, 0, lengthBytes)
  giveBack(memory)
  return piece
}

function copyPlace(lengthBytes: number): Buffer {
  if (blockUsed + lengthBytes > block.length) {
    block = Buffer.allocUnsafeSlow(blockBytes)
    blockUsed = 0
  }
  const piece = block.subarray(blockUsed, blockUsed + lengthBytes)
  blockUsed += (lengthBytes + 7) & ~7
  return piece
}
