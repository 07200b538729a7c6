import type { Ring } from '@kiruna/linux-uring/ring'
import { ReadyLane } from '@kiruna/net-socket/ready-lane'
import type { Rank } from '@kiruna/priority'

/**
 * The most that transfers below realtime move within one enter. The copy takes this thread some 15 µs, and an urgent
 * completion that arrives meanwhile waits for it.
 */
const mostBytes = 64 * 1024

interface Ahead {
  receiveAheadNow(): void
}

const resolved = Promise.resolve()

/**
 * Ready transfers wait here until the ring is flushed, and are submitted most urgent first:
 *
 *     ready ─► lane, by rank ─► (flush) ─► RECV, SEND: MSG_DONTWAIT ─► done, and the next
 */
export class SocketLane extends ReadyLane {
  readonly #ring: Ring
  #underWayBytes = 0
  /** Connections that may receive ahead of their readers. */
  #ahead: Ahead[] = []

  constructor(ring: Ring) {
    super()
    this.#ring = ring
    const before = ring.beforeFlush
    ring.beforeFlush = () => {
      before()
      this.#stage()
    }
  }

  protected wake(rank: Rank): void {
    this.#ring.submitWithTurn(rank)
  }

  /** A transfer has completed. @param bytes what `transfer` has returned */
  done(bytes: number): void {
    this.#underWayBytes -= bytes
  }

  /** Receives ahead once the reader of the last bytes has had its turn, so that it needs no enter of its own. */
  ahead(one: Ahead): void {
    if (this.#ahead.push(one) === 1) resolved.then(this.#receiveAhead)
  }

  readonly #receiveAhead = (): void => {
    const all = this.#ahead
    this.#ahead = []
    for (const one of all) one.receiveAheadNow()
  }

  #stage(): void {
    for (const queue of this.queues) {
      for (let link = queue.first; link !== undefined; link = queue.first) {
        // One transfer always goes, and so do all realtime ones.
        if (queue !== this.queues[0] && this.#underWayBytes >= mostBytes) return
        const transfer = link.item
        this.leave(transfer)
        try {
          this.#underWayBytes += transfer.transfer()
        } catch (error) {
          transfer.notStarted(error)
        }
      }
    }
  }
}
