import type { NativeRing } from './native.ts'
import { type Completion, inlineBytesOf, type Submissions } from './sqe.ts'

// The same as in ring.h.
export const sqEntries = 64
const sqeWords = 16

/**
 * What hits the page cache is copied on this thread, within enter: at most this much in one call. Large reads are left
 * to the kernel's threads. That costs a turn of the event loop, so the first urgent ones of a batch are not.
 */
export const maxInlineBytes = 256 * 1024

/** In the upper word of user_data: the result is a new fd. uring.cc closes it if this thread has ended by then. */
const newFd = 0x8000_0000
/** Marks completions that nobody waits for. */
export const noSlot = 0xffff_ffff
const generations = 0x3fff_ffff

/** The submissions that the kernel has not been given yet, and who takes their results. */
export abstract class Staged implements Submissions {
  words = new Uint32Array(sqEntries * sqeWords)
  protected stagedFirst = 0
  protected stagedCount = 0
  protected readonly completions: (Completion | undefined)[] = []
  /** The upper word of user_data, by slot. Its generation protects the slot's next user from a late cancel. */
  protected readonly userHigh: number[] = []
  protected readonly freeSlots: number[] = []
  /** How many keep the process alive. */
  protected inFlight = 0
  /** The kernel takes nothing any more, and why. */
  protected lost: Error | undefined = undefined

  abstract addressOf(buffer: NodeJS.ArrayBufferView): number

  /**
   * Stages a cleared submission for `fd`.
   * @param completion takes the result; held until then, and its buffer with it
   * @param makesFd the result is a new fd, which uring.cc closes if this thread has ended by then
   * @returns where it begins in `words`
   * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: the ring is lost
   * @see io_uring_get_sqe(3)
   */
  sqe(fd: number, completion: Completion | undefined, makesFd = false): number {
    if (this.lost !== undefined) throw this.lost
    if ((this.stagedFirst + this.stagedCount) * sqeWords === this.words.length) this.#makeRoom()
    const words = this.words
    const sqe = (this.stagedFirst + this.stagedCount++) * sqeWords
    let slot = noSlot
    let high = 0
    if (completion !== undefined) {
      slot = this.freeSlots.pop() ?? this.completions.length
      high = (((this.userHigh[slot] ?? 0) + 1) & generations) | (makesFd ? newFd : 0)
      this.completions[slot] = completion
      this.userHigh[slot] = high
      completion.slot = slot
      if (completion.isUnref !== true) this.inFlight++
    }
    words[sqe] = 0
    words[sqe + 1] = fd
    for (let word = sqe + 2; word < sqe + 8; word++) words[word] = 0 // a call of fill costs more
    words[sqe + 8] = slot
    words[sqe + 9] = high
    for (let word = sqe + 10; word < sqe + sqeWords; word++) words[word] = 0
    return sqe
  }

  #makeRoom(): void {
    const { length } = this.words
    const staged = this.words.subarray(this.stagedFirst * sqeWords)
    if (staged.length > length / 2) this.words = new Uint32Array(length * 2)
    this.words.set(staged)
    this.stagedFirst = 0
  }

  /** Copies staged submissions into the submission queue, as many as one enter may do. Returns how many. */
  protected fill({ submissions: queue }: NativeRing): number {
    const most = Math.min(this.stagedCount, sqEntries)
    const { words } = this
    let [copiedBytes, count] = [0, 0]
    for (let sqe = this.stagedFirst * sqeWords; count < most; count++, sqe += sqeWords) {
      copiedBytes += inlineBytesOf(this, sqe)
      if (copiedBytes > maxInlineBytes && count > 0) break
      const at = count * sqeWords
      for (let word = 0; word < sqeWords; word++) queue[at + word] = words[sqe + word]!
    }
    return count
  }
}
