/** How late something was, in milliseconds. Percentiles are up to a fifth too high, the maximum is exact. */
export interface LatenessMs {
  p50: number
  p99: number
  max: number
}

/** The buckets grow by a fifth each; the first one ends here. */
const bucketsPerDoubling = 4
const firstBucketMs = 0.001
const bucketCount = 128 // up to 50 days

/** Counts how late something was, in 512 bytes for any number of counts. */
export class Lateness {
  count = 0
  #maxMs = 0
  readonly #counts = new Uint32Array(bucketCount)

  add(ms: number): void {
    this.count++
    if (ms > this.#maxMs) this.#maxMs = ms
    const bucket = ms <= firstBucketMs ? 0 : Math.ceil(Math.log2(ms / firstBucketMs) * bucketsPerDoubling)
    this.#counts[Math.min(bucket, bucketCount - 1)]!++
  }

  /** All 0 if nothing has been counted. */
  percentiles(): LatenessMs {
    return { p50: this.#percentile(0.5), p99: this.#percentile(0.99), max: this.#maxMs }
  }

  #percentile(share: number): number {
    let left = Math.ceil(this.count * share)
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      left -= this.#counts[bucket]!
      if (left <= 0) return Math.min(firstBucketMs * 2 ** (bucket / bucketsPerDoubling), this.#maxMs)
    }
    return this.#maxMs
  }
}
