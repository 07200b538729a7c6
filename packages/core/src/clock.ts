/** Where a scheduler gets its time from: Node's, or a test's own. */
export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number
  /** Calls back once, after `ms` or a little later. */
  setTimeout(callback: () => void, ms: number): ClockTimer
}

export interface ClockTimer {
  hasRef(): boolean
  ref(): unknown
  unref(): unknown
  [Symbol.dispose](): void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
}
