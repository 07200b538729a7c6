/** How late something was, in milliseconds. Percentiles are up to a fifth too high, the maximum is exact. */
export interface LatenessMs {
  p50: number
  p99: number
  max: number
}

/** Buckets to a doubling, and where the first one ends. */
const perDoubling = 4
const firstMs = 0.001
const buckets = 128 // up to 50 days

/** Counts how late something was, in 512 bytes whatever their number. */
export class Lateness {
  count = 0
  #maxMs = 0
  readonly #counts = new Uint32Array(buckets)

  add(ms: number): void {
    this.count++
    if (ms > this.#maxMs) this.#maxMs = ms
    const bucket = ms <= firstMs ? 0 : Math.ceil(Math.log2(ms / firstMs) * perDoubling)
    this.#counts[Math.min(bucket, buckets - 1)]!++
  }

  /** All 0 where nothing has been counted. */
  percentiles(): LatenessMs {
    return { p50: this.#percentile(0.5), p99: this.#percentile(0.99), max: this.#maxMs }
  }

  #percentile(share: number): number {
    let left = Math.ceil(this.count * share)
    for (let bucket = 0; bucket < buckets; bucket++) {
      left -= this.#counts[bucket]!
      if (left <= 0) return Math.min(firstMs * 2 ** (bucket / perDoubling), this.#maxMs)
    }
    return this.#maxMs
  }
}
