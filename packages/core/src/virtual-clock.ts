import { setImmediate as nextTurn } from 'node:timers/promises'
import { coded } from '@kiruna/priority/error'
import { lane } from '@kiruna/priority/lane'
import type { Clock, ClockTimer, Simulation } from './clock.ts'
import { arrivalOrder, DueHeap, type Placed } from './due-heap.ts'

/** Nothing is left to do now when nobody has looked at the clock for this many turns of the event loop. */
const quietTurns = 2
/** After this many looks at one instant, of four jobs each at most, time goes on: some task only yields. */
const maxLooksPerInstant = 20_000

/** Goes from one instant to the next, and at each gives its schedulers all the turns that they need. */
export class VirtualClock implements Clock {
  readonly simulation: Simulation
  readonly #timers: DueHeap<VirtualTimer>
  #nowMs = 0
  #looks = 0
  #advancing = false

  /** @param seed permutes the order where none is promised; without one it is the order of arrival */
  constructor(seed?: number) {
    this.simulation = seed === undefined ? inArrivalOrder() : seeded(seed)
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

  /** Time passes while a job runs: nothing becomes due before that has ended. */
  spend(ms: number): void {
    this.#nowMs += ms
  }

  /**
   * Goes from one timer to the next until `ms` have passed or the condition is met, and lets everything run that is due
   * at each.
   */
  async advance(ms: number, isDone = () => false): Promise<void> {
    if (this.#advancing) throw coded(Error, 'ERR_INVALID_STATE', 'The clock is being advanced already')
    this.#advancing = true
    try {
      const endMs = this.#nowMs + ms
      for (;;) {
        await this.#settle(isDone)
        if (isDone()) return
        const timer = this.#timers.first
        if (timer === undefined || timer.dueMs > endMs) break
        this.#passTo(timer.dueMs)
        timer.fire()
      }
      this.#passTo(endMs)
      await this.#settle(isDone)
    } finally {
      this.#advancing = false
    }
  }

  /** `spend` may have gone beyond that. */
  #passTo(ms: number): void {
    this.#nowMs = Math.max(this.#nowMs, ms)
  }

  /** Waits until nothing looks at the clock any more, as every slice does first, and no file operation is under way. */
  async #settle(isDone: () => boolean): Promise<void> {
    let looks = 0
    for (let quiet = 0; quiet < quietTurns && looks < maxLooksPerInstant && !isDone(); ) {
      this.#looks = 0
      await nextTurn()
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
function inArrivalOrder(): Simulation {
  return { nextOrder: arrivalOrder(), maxLooksPerSlice: () => 4096 }
}

/** The same seed gives the same numbers: xorshift. @see https://www.jstatsoft.org/article/view/v008i14 */
function seeded(seed: number): Simulation {
  let state = Math.imul(seed + 1, 0x9e37_79b1) | 0 || 1 // never 0, and far from the next seed's
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state
  }
  for (let i = 0; i < 4; i++) next()
  return { nextOrder: next, maxLooksPerSlice: () => 2 + (next() & 15) }
}
