import type { Rank } from '@kiruna/priority'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'

/** A socket that is ready, or thought to be: a receive or a send that does not wait. */
export interface Transfer {
  /** How urgent it is, now. */
  readonly rank: Rank
  /** @internal its place in the lane */
  place: Link<Transfer> | undefined
  /** Makes the call. @returns the most bytes that it moves */
  transfer(): number
}

/**
 * What is ready waits here for its turn, by rank. No socket is disk I/O: this is not the disk's lane. Its bound is on the
 * time in the kernel, not on what waits there.
 */
export abstract class ReadyLane {
  protected readonly queues = [0, 1, 2, 3].map(() => new LinkedList<Transfer>())

  /** Something waits: the turns begin soon. */
  protected abstract wake(rank: Rank): void

  enter(transfer: Transfer): void {
    const { rank } = transfer
    transfer.place = this.queues[rank]!.add(transfer)
    this.wake(rank)
  }

  /** It may have become more urgent, or less: to the end of its new queue. */
  rankChanged(transfer: Transfer): void {
    if (this.leave(transfer)) this.enter(transfer)
  }

  /** Returns false if it does not wait here. */
  leave(transfer: Transfer): boolean {
    const { place } = transfer
    if (place === undefined) return false
    place.list!.remove(place)
    transfer.place = undefined
    return true
  }
}
