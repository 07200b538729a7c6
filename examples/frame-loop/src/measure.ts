import { type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'

/** Points in time at start + n × period, n from 1: what is late is late against these, whatever happened before. */
export class Grid {
  readonly periodMs: number
  readonly #startMs = performance.now()
  #next = 1

  constructor(periodMs: number) {
    this.periodMs = periodMs
  }

  /** The next point, on performance.now()'s clock. */
  get nextMs(): number {
    return this.#startMs + this.#next * this.periodMs
  }

  /** How long it is until then: for a timer. */
  get leftMs(): number {
    return Math.max(0, this.nextMs - performance.now())
  }

  /** The next point has come. A timer may ring a little early. */
  get isDue(): boolean {
    return performance.now() >= this.nextMs
  }

  /** Takes the next point. */
  take(): number {
    const pointMs = this.nextMs
    this.#next++
    return pointMs
  }

  /** Leaves out the points that have gone by. Returns how many. */
  skip(): number {
    const points = Math.max(0, Math.floor((performance.now() - this.nextMs) / this.periodMs) + 1)
    this.#next += points
    return points
  }
}

/**
 * The value that `share` of all values do not exceed (nearest rank): 0.5 for the median, 1 for the largest.
 * NaN where there is none.
 */
export function percentile(values: Float64Array, share: number): number {
  const sorted = values.toSorted()
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

/** Numbers in [0, 1), the same ones for the same seed: mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Notes each pause that garbage collection makes in this process. */
export class GcPauses {
  readonly #pausesMs: number[] = []
  readonly #observer = new PerformanceObserver(list => this.#note(list.getEntries()))

  constructor() {
    this.#observer.observe({ entryTypes: ['gc'] })
  }

  /** @returns the length of each, in milliseconds */
  stop(): Float64Array {
    this.#note(this.#observer.takeRecords())
    this.#observer.disconnect()
    return Float64Array.from(this.#pausesMs)
  }

  #note(pauses: PerformanceEntry[]): void {
    for (const { duration } of pauses) this.#pausesMs.push(duration)
  }
}
