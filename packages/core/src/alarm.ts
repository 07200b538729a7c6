import type { Clock, ClockTimer } from './clock.ts'

/** What a timer of Node's takes: 24.8 days. */
export const longestTimeoutMs = 2 ** 31 - 1

/** One timer, for the first of all that is waited for. */
export class Alarm {
  readonly #clock: Clock
  readonly #goOff: () => void
  #timer: ClockTimer | undefined = undefined
  #atMs = 0

  constructor(clock: Clock, goOff: () => void) {
    this.#clock = clock
    this.#goOff = goOff
  }

  isSet(atMs: number, keepsAlive: boolean): boolean {
    return this.#timer !== undefined && this.#atMs === atMs && this.#timer.hasRef() === keepsAlive
  }

  /** @param keepsAlive the process lives until then */
  set(atMs: number, nowMs: number, keepsAlive: boolean): void {
    this.clear()
    this.#atMs = atMs
    const goOff = () => {
      this.#timer = undefined
      this.#goOff()
    }
    this.#timer = this.#clock.setTimeout(goOff, Math.min(atMs - nowMs, longestTimeoutMs))
    if (!keepsAlive) this.#timer.unref()
  }

  clear(): void {
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
  }
}
