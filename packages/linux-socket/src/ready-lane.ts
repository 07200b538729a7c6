import type { Ring } from '@kiruna/linux-uring/ring'
import type { Rank } from '@kiruna/priority'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'

/**
 * The most that what is not realtime moves within one enter. It is copied on this thread, in some 15 µs, and what is urgent
 * and arrives meanwhile is looked at after it.
 */
const mostBytes = 64 * 1024

/** A socket that is ready, or thought to be: a receive or a send that does not wait. */
export interface Transfer {
  /** How urgent it is, now. */
  readonly rank: Rank
  /** @internal its place in the lane */
  place: Link<Transfer> | undefined
  /** Stages it. Returns the most that it moves, which it gives to `done` then; 0: there is nothing to do any more. */
  start(): number
}

interface Ahead {
  receiveAheadNow(): void
}

const resolved = Promise.resolve()

/**
 * What is ready waits here until the ring is flushed, and goes down most urgent first:
 *
 *     ready ─► lane, by rank ─► (flush) ─► RECV, SEND: MSG_DONTWAIT ─► done, and the next
 *
 * No socket is disk I/O: this is not the disk's lane. Its bound is on the time in the kernel, not on what waits there.
 */
export class SocketLane {
  readonly #ring: Ring
  readonly #queues = [0, 1, 2, 3].map(() => new LinkedList<Transfer>())
  #underWayBytes = 0
  /** Those that may receive ahead of their readers. */
  #ahead: Ahead[] = []

  constructor(ring: Ring) {
    this.#ring = ring
    const before = ring.beforeFlush
    ring.beforeFlush = () => {
      before()
      this.#stage()
    }
  }

  enter(transfer: Transfer): void {
    const { rank } = transfer
    transfer.place = this.#queues[rank]!.add(transfer)
    this.#ring.submitWithTurn(rank)
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

  /** @param bytes what `start` has returned */
  done(bytes: number): void {
    this.#underWayBytes -= bytes
  }

  /** To receive again, when the reader of the last bytes has had its turn: not in an enter of its own. */
  ahead(one: Ahead): void {
    if (this.#ahead.push(one) === 1) resolved.then(this.#receiveAhead)
  }

  readonly #receiveAhead = (): void => {
    const all = this.#ahead
    this.#ahead = []
    for (const one of all) one.receiveAheadNow()
  }

  #stage(): void {
    for (const queue of this.#queues) {
      for (let link = queue.first; link !== undefined; link = queue.first) {
        // One at least always goes, and what is realtime always does.
        if (queue !== this.#queues[0] && this.#underWayBytes >= mostBytes) return
        const transfer = link.item
        queue.remove(link)
        transfer.place = undefined
        this.#underWayBytes += transfer.start()
      }
    }
  }
}
