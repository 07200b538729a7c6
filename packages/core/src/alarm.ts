import type { Bell } from './bell.ts'
import { type Clock, type ClockTimer, longestTimeoutMs } from './clock.ts'
import type { DueHeap, Sleeper } from './due-heap.ts'

/** A timer has whole milliseconds and comes late by up to one: from here to the deadline an idle loop spins. */
const spinMs = 1.1
/** It spins so long in each turn: turn upon turn would make garbage whose collection comes just before the deadline. */
const spinTurnMs = 0.05

/** A ticker, as far as the alarm knows of it. */
interface Tick {
  readonly dueMs: number
  readonly keepsAlive: boolean
}

/**
 * Wakes an idle loop for its next deadline: a timer until shortly before, then turn after turn of the event loop.
 * Tickers that do not keep the process alive have the timer only: nothing would hold the event loop from blocking.
 * Nothing spins for a sleeper.
 */
export class Alarm {
  readonly #clock: Clock
  readonly #bell: Bell
  readonly #tickers: readonly Tick[]
  readonly #sleepers: DueHeap<Sleeper>
  readonly #wake: () => boolean
  #timer: ClockTimer | undefined = undefined
  #timerMs = 0

  /**
   * @param tickers those with the earliest deadline first
   * @param wake gives the loop the next turn; false: it has one already
   */
  constructor(
    clock: Clock,
    bell: Bell,
    tickers: readonly Tick[],
    sleepers: DueHeap<Sleeper>,
    wake: () => boolean,
  ) {
    this.#clock = clock
    this.#bell = bell
    this.#tickers = tickers
    this.#sleepers = sleepers
    this.#wake = wake
  }

  /** @param isHolding the guard holds a job, for which the process lives until the tick */
  set(isHolding: boolean): void {
    const tickMs = this.#tickers[0]?.dueMs ?? Number.POSITIVE_INFINITY
    const ticks = this.#tickers.some(one => one.keepsAlive)
    const spins = ticks && this.#clock.simulation === undefined
    const wakesMs = Math.min(spins ? tickMs - 1 : tickMs, this.#sleepers.nextMs)
    const keepsAlive = ticks || this.#sleepers.length > 0 || isHolding
    if (this.#timer !== undefined && this.#timerMs === wakesMs && this.#timer.hasRef() === keepsAlive) return
    this.#clear()
    if (wakesMs === Number.POSITIVE_INFINITY) return
    const nowMs = this.#clock.now()
    if (wakesMs > nowMs && !(spins && tickMs - nowMs <= spinMs)) this.#setTimer(wakesMs, nowMs, keepsAlive)
    else if (this.#wake() && this.#sleepers.nextMs > nowMs) this.#spin(Math.min(tickMs, nowMs + spinTurnMs))
  }

  #setTimer(wakesMs: number, nowMs: number, keepsAlive: boolean): void {
    this.#timerMs = wakesMs
    const goOff = () => {
      this.#timer = undefined
      this.#wake()
    }
    this.#timer = this.#clock.setTimeout(goOff, Math.min(wakesMs - nowMs, longestTimeoutMs))
    if (!keepsAlive) this.#timer.unref()
  }

  #clear(): void {
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
  }

  /** Not for ever: a test's clock stands still. */
  #spin(untilMs: number): void {
    for (let looks = 0; looks < 2000 && this.#clock.now() < untilMs && !this.#bell.isRung; looks++);
  }
}
