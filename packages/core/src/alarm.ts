import type { Bell } from './bell.ts'
import { type Clock, type ClockTimer, longestTimeoutMs, systemClock } from './clock.ts'
import type { DueHeap, Sleeper } from './due-heap.ts'
import { outside } from './outside.ts'
import type { Ticker } from './ticker.ts'

/** How long before a deadline an idle loop spins: a timer has whole milliseconds and is late by up to one. */
const spinMs = 1.1
/** How long it spins in each turn: many short turns make garbage, which may be collected just before the deadline. */
const spinTurnMs = 0.05
/** It naps for so long at a time, then the event loop has its turn; a shorter nap is not worth the call. */
const mostNapMs = 0.15
const leastNapMs = 0.05
/** How long before the deadline the last nap ends: as much as naps have lately been late, within these. */
const [leastMarginMs, mostMarginMs] = [0.1, 0.6]
const word = new Int32Array(new SharedArrayBuffer(4))

/**
 * Wakes an idle loop for its next deadline: a timer until shortly before, then turn after turn of the event loop, with a
 * nap in each, and at the end without:
 *
 *     timer ──────────────► nap ─ turn ─ nap ─ turn ─ spin ▌tick▐
 *                           1.1 ms before             as late as naps are here
 *
 * Tickers that do not keep the process alive have the timer only: nothing would keep the event loop from blocking.
 * The loop does not spin for a sleeper.
 */
export class Alarm {
  readonly #clock: Clock
  readonly #bell: Bell
  readonly #wake: () => boolean
  #timer: ClockTimer | undefined = undefined
  #timerMs = 0
  #marginMs = mostMarginMs / 2
  /** Only on Node's own clock: a test's stands still. */
  #canNap: boolean

  /** @param wake gives the loop a turn; returns false if it has one already */
  constructor(clock: Clock, bell: Bell, wake: () => boolean) {
    this.#clock = clock
    this.#bell = bell
    this.#wake = wake
    this.#canNap = clock === systemClock
  }

  /**
   * @param tickers the earliest deadline first
   * @param isHolding the guard holds a job, for which the process lives until the tick
   */
  set(tickers: readonly Ticker[], sleepers: DueHeap<Sleeper>, isHolding: boolean): void {
    const tickMs = tickers[0]?.dueMs ?? Number.POSITIVE_INFINITY
    const keepsTicking = tickers.some(one => one.keepsAlive)
    const maySpin = keepsTicking && this.#clock.simulation === undefined
    const wakeMs = Math.min(maySpin ? tickMs - 1 : tickMs, sleepers.nextMs)
    const keepsAlive = keepsTicking || sleepers.length > 0 || isHolding
    if (this.#timer !== undefined && this.#timerMs === wakeMs && this.#timer.hasRef() === keepsAlive) return
    this.#clear()
    if (wakeMs === Number.POSITIVE_INFINITY) return
    const nowMs = this.#clock.now()
    if (wakeMs > nowMs && !(maySpin && tickMs - nowMs <= spinMs)) this.#setTimer(wakeMs, nowMs, keepsAlive)
    else if (this.#wake() && sleepers.nextMs > nowMs) this.#pass(tickMs, nowMs)
  }

  readonly #setTimeout = (callback: () => void, ms: number) => this.#clock.setTimeout(callback, ms)

  #setTimer(wakeMs: number, nowMs: number, keepsAlive: boolean): void {
    this.#timerMs = wakeMs
    const goOff = () => {
      this.#timer = undefined
      this.#wake()
    }
    this.#timer = outside(this.#setTimeout, goOff, Math.min(wakeMs - nowMs, longestTimeoutMs))
    if (!keepsAlive) this.#timer.unref()
  }

  #clear(): void {
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
  }

  /** Lets some of the time until the tick pass. A nap is a wait of this thread, which takes no processor. */
  #pass(tickMs: number, nowMs: number): void {
    const napMs = Math.min(tickMs - nowMs - this.#marginMs, mostNapMs)
    if (napMs < leastNapMs || !this.#canNap) {
      this.#spin(Math.min(tickMs, nowMs + spinTurnMs))
      return
    }
    try {
      Atomics.wait(word, 0, 0, napMs)
    } catch {
      this.#canNap = false // a browser window's thread may not wait
      return
    }
    const lateMs = this.#clock.now() - nowMs - napMs
    const marginMs = Math.max(lateMs * 1.25, this.#marginMs * 0.99)
    this.#marginMs = Math.min(Math.max(marginMs, leastMarginMs), mostMarginMs)
  }

  /** Limited by a count as well: a test's clock stands still. */
  #spin(untilMs: number): void {
    for (let looks = 0; looks < 2000 && this.#clock.now() < untilMs && !this.#bell.isRung; looks++);
  }
}
