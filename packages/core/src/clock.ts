import { invalidType, outOfRange } from '@kiruna/priority/error'
import { nowMs, setTimeout } from '@kiruna/priority/timers'

/** The longest delay that a timer of Node's takes: 24.8 days. */
export const longestTimeoutMs = 2 ** 31 - 1
const timeoutRange = `from 0 to ${longestTimeoutMs} milliseconds`

/** Where a scheduler gets its time from: Node's, or a test's own (`@kiruna/core/testing`). */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number
  /** Calls back once, after `ms` or a little later. */
  setTimeout(callback: () => void, ms: number): ClockTimer
  /** Set if time passes only when a test says so. @internal */
  readonly simulation?: Simulation
}

export interface ClockTimer {
  hasRef(): boolean
  ref(): unknown
  unref(): unknown
  [Symbol.dispose](): void
}

/** Decides what real time leaves to chance. Its timers are exact: the loop never spins for a deadline. */
export interface Simulation {
  /** Of entries that are due at the same time, the one with the smaller number comes first. */
  readonly nextOrder: () => number
  /** A slice ends after this many looks at the clock, 2 or more: the clock may stand still meanwhile. */
  readonly maxLooksPerSlice: () => number
}

export const systemClock: Clock = {
  now: () => nowMs(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE */
export function checkMs(ms: number, name: string, isInRange: boolean, range: string): void {
  if (typeof ms !== 'number') throw invalidType(name, 'a number of milliseconds', ms)
  if (!isInRange) throw outOfRange(name, range, ms)
}

/** A delay that a timer takes. @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE */
export function checkTimeout(ms: number, name: string): void {
  checkMs(ms, name, ms >= 0 && ms <= longestTimeoutMs, timeoutRange)
}
