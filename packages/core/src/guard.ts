import type { Rank } from '@kiruna/priority'
import type { Cost } from './cost.ts'

/** A tick may be this late: otherwise a gap that a job just fills would stay empty. */
const toleratedMs = 0.1

/**
 * Keeps the thread free for the next tick of `every`: a job that is expected to run beyond it is held until the tick
 * has run, and then passes, however long it takes. So a job waits for one tick at most.
 *
 *                     held                        passes
 *     ──── job ──── ░░░░░░░░ ▌tick▐ ──── job ──────────── job ──── …
 */
export class Guard {
  /** It holds nothing for longer than this: then the tick is late. */
  readonly #maxWaitMs: number
  /** Bit r is set while a job of rank r is held. */
  held = 0
  /** Bit r is set when the next job of rank r may pass. */
  #passes = 0

  constructor(maxWaitMs: number) {
    this.#maxWaitMs = maxWaitMs
  }

  /** A job waits for the tick. */
  get isHolding(): boolean {
    return this.held !== 0
  }

  /** Whether this rank's next job has to wait for the tick that is due in `leftMs`. */
  holds(rank: Rank, cost: Cost, leftMs: number): boolean {
    if (!this.wouldHold(rank, cost, leftMs)) {
      this.#passes &= ~(1 << rank)
      return false
    }
    this.held |= 1 << rank
    return true
  }

  wouldHold(rank: Rank, { expectedMs }: Cost, leftMs: number): boolean {
    return (
      expectedMs > leftMs + toleratedMs && leftMs <= this.#maxWaitMs && (this.#passes & (1 << rank)) === 0
    )
  }

  /** Held jobs may pass: a tick has run, or there is no ticker left to wait for. */
  release(): void {
    this.#passes |= this.held
    this.held = 0
  }
}
