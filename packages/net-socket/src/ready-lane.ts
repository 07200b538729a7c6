import type { Rank } from '@kiruna/priority'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'

/** A receive or a send that does not wait, on a socket that is ready as far as we know. */
export interface Transfer {
  /** Its caller's rank, now. */
  readonly rank: Rank
  /** @internal its place in the lane */
  place: Link<Transfer> | undefined
  /** Makes the call. @returns the most bytes that it moves */
  transfer(): number
  /** `transfer` has thrown: there was no memory for it. */
  notStarted(error: unknown): void
}

/**
 * Ready transfers wait here for their turn, by rank. This is not the disk's lane: it bounds the time in the kernel, not
 * the operations in flight.
 */
export abstract class ReadyLane {
  protected readonly queues = [0, 1, 2, 3].map(() => new LinkedList<Transfer>())

  /** A transfer of this rank waits: turns are to begin soon. */
  protected abstract wake(rank: Rank): void

  enter(transfer: Transfer): void {
    const { rank } = transfer
    transfer.place = this.queues[rank]!.add(transfer)
    this.wake(rank)
  }

  /** Moves the transfer to the end of its new queue. */
  rankChanged(transfer: Transfer): void {
    if (this.leave(transfer)) this.enter(transfer)
  }

  /** Returns false if the transfer does not wait here. */
  leave(transfer: Transfer): boolean {
    const { place } = transfer
    if (place === undefined) return false
    place.list!.remove(place)
    transfer.place = undefined
    return true
  }
}
