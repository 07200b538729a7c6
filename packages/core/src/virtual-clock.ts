import { setImmediate as turn } from 'node:timers/promises'
import { coded } from '@kiruna/priority/error'
import { lane } from '@kiruna/priority/lane'
import type { Clock, ClockTimer, Simulation } from './clock.ts'
import { DueHeap, inOrder, type Placed } from './due-heap.ts'

/** Nothing is left to do now when nobody has looked at the clock for so many turns of the event loop. */
const quietTurns = 2
/** So many looks at one instant, four jobs each at most, and time goes on all the same: some task only yields. */
const looksAnInstant = 20_000

/** Schedulers on it are told one instant after another, and each has all the turns that it needs. */
export class VirtualClock implements Clock {
  readonly simulation: Simulation
  readonly #timers: DueHeap<VirtualTimer>
  #nowMs = 0
  #looks = 0
  #advancing = false

  /** @param seed of what has no promised order; without one it is that of arrival */
  constructor(seed?: number) {
    this.simulation = seed === undefined ? orderly() : shuffled(seed)
    this.#timers = new DueHeap(this.simulation.nextOrder)
  }

  now(): number {
    this.#looks++
    return this.#nowMs
  }

  setTimeout(callback: () => void, ms: number): ClockTimer {
    this.#looks++
    return new VirtualTimer(this.#timers, this.#nowMs + Math.max(ms, 0), callback)
  }

  /** Time passes in the middle of what runs: nothing becomes due before that is done. */
  spend(ms: number): void {
    this.#nowMs += ms
  }

  /**
   * Goes from one timer to the next until `ms` have passed or the condition is met, and lets everything run that each of
   * them makes due.
   */
  async advance(ms: number, isEnough = () => false): Promise<void> {
    if (this.#advancing) throw coded(Error, 'ERR_INVALID_STATE', 'The clock is being advanced already')
    this.#advancing = true
    try {
      const endMs = this.#nowMs + ms
      for (;;) {
        await this.#settle(isEnough)
        if (isEnough()) return
        const timer = this.#timers.first
        if (timer === undefined || timer.dueMs > endMs) break
        this.#passTo(timer.dueMs)
        timer.fire()
      }
      this.#passTo(endMs)
      await this.#settle(isEnough)
    } finally {
      this.#advancing = false
    }
  }

  /** What has been spent may be more. */
  #passTo(ms: number): void {
    this.#nowMs = Math.max(this.#nowMs, ms)
  }

  /** Turn after turn of the event loop: every slice begins with a look at the clock. Files are waited for, too. */
  async #settle(isEnough: () => boolean): Promise<void> {
    let looks = 0
    for (let quiet = 0; quiet < quietTurns && looks < looksAnInstant && !isEnough(); ) {
      this.#looks = 0
      await turn()
      looks += this.#looks
      quiet = this.#looks === 0 && lane.isIdle ? quiet + 1 : 0
    }
  }
}

class VirtualTimer implements ClockTimer, Placed {
  readonly dueMs: number
  place = -1
  readonly #timers: DueHeap<VirtualTimer>
  readonly #callback: () => void
  #ref = true

  constructor(timers: DueHeap<VirtualTimer>, dueMs: number, callback: () => void) {
    this.dueMs = dueMs
    this.#timers = timers
    this.#callback = callback
    timers.add(this)
  }

  fire(): void {
    this.#timers.remove(this)
    this.#callback()
  }

  hasRef(): boolean {
    return this.#ref
  }

  ref(): void {
    this.#ref = true
  }

  unref(): void {
    this.#ref = false
  }

  [Symbol.dispose](): void {
    this.#timers.remove(this)
  }
}

/** First in, first out, and a slice ends when nothing is left, or when a task only yields. */
function orderly(): Simulation {
  return { nextOrder: inOrder(), looksASlice: () => 4096 }
}

/** The same seed gives the same numbers: xorshift. @see https://www.jstatsoft.org/article/view/v008i14 */
function shuffled(seed: number): Simulation {
  let state = Math.imul(seed + 1, 0x9e37_79b1) | 0 || 1 // never 0, and far from that of the next seed
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state
  }
  for (let i = 0; i < 4; i++) next()
  return { nextOrder: next, looksASlice: () => 2 + (next() & 15) }
}
