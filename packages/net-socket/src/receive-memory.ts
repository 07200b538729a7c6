import type { Rank } from '@kiruna/priority'
import { countGarbage } from './young-garbage.ts'

/** The memory of most receives, from which the bytes are copied. */
export const smallBytes = 4 * 1024
/** The memory of a receive that expects more. */
export const largeBytes = 64 * 1024

const blockBytes = 64 * 1024

/**
 * How many receives may wait for their peers with memory of their own. All others wait without, and hold memory only
 * while they are in the kernel. Receives below user-blocking have their own share: if bytes come for all of them at
 * once, the kernel must not take long.
 */
const mostWaiting = { urgent: 512, other: 128 }
const waiting = { urgent: 0, other: 0 }

const small: Memory[] = []
let large: Memory | undefined

/** Memory that the kernel writes into. */
export interface Memory {
  readonly bytes: Buffer
  /** The address of `bytes`, for the ring; 0 until that has asked. */
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

/** Memory for a receive that waits. undefined: enough receives wait with memory. */
export function takeMemoryToWait(rank: Rank): Memory | undefined {
  const who = rank <= 1 ? 'urgent' : 'other'
  if (waiting[who] >= mostWaiting[who]) return undefined
  const memory = takeMemory(smallBytes)
  waiting[who]++
  return memory
}

/** A receive no longer waits with memory. @param rank as given to `takeMemoryToWait` */
export function waitEnded(rank: Rank): void {
  waiting[rank <= 1 ? 'urgent' : 'other']--
}

/** Takes memory back. */
export function giveBack(memory: Memory): void {
  if (memory.bytes.length === smallBytes) small.push(memory)
  else large = memory
}

/**
 * The bytes of a receive, which the reader owns from now on: memory that holds nothing else, since whoever transfers it
 * takes along all that is in it. Many are handed over as they are, few are copied.
 */
export function claim(memory: Memory, lengthBytes: number): Buffer {
  countGarbage(lengthBytes)
  if (lengthBytes > largeBytes / 2) return memory.bytes.subarray(0, lengthBytes)
  const piece = copyOf(memory.bytes.subarray(0, lengthBytes))
  giveBack(memory)
  return piece
}

/** A copy in memory of its own. */
export function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}
