/** How many operations below user-blocking are in flight together while there are urgent ones. */
export const shallowDepth = 4
const deepestDepth = 64
/** The time after an urgent operation before the lane goes deeper; after a realtime one it bounds user-blocking. */
export const quietMs = 1000
/** How long throughput is measured before and after a step deeper, and how much it must rise for the step to stay. */
const windowMs = 100
const worthwhileRise = 1.05
/** The pause after a step that did not pay. */
const retryStepMs = 2000

/**
 * How deep the lane may be. A deep queue helps only throughput, and makes the next urgent operation wait: so a step
 * deeper is tried after a quiet second, and kept if throughput rose.
 */
export class Climb {
  /** An urgent operation was admitted since the last `done`. */
  urgent = true
  #urgentAtMs: number
  #windowStartMs: number
  #windowBytes = 0
  /** Bytes per millisecond before the step that is being tried; 0: none is. */
  #baseline = 0
  #retryAtMs = 0

  constructor(nowMs: number) {
    this.#urgentAtMs = this.#windowStartMs = nowMs
  }

  /** An operation is done, and others wait. Returns the depth from here on. */
  done(depth: number, bytes: number, nowMs: number): number {
    if (this.urgent) {
      this.urgent = false
      this.#urgentAtMs = nowMs
      this.#restart(nowMs)
      this.#baseline = this.#retryAtMs = 0
      return shallowDepth
    }
    this.#windowBytes += bytes
    const elapsedMs = nowMs - this.#windowStartMs
    if (elapsedMs < windowMs) return depth
    const throughput = this.#windowBytes / elapsedMs
    this.#restart(nowMs)
    // A window that began long ago includes a pause in the work.
    if (elapsedMs > 4 * windowMs || nowMs - this.#urgentAtMs < quietMs) return depth
    if (this.#baseline > 0 && throughput < this.#baseline * worthwhileRise) {
      this.#baseline = 0
      this.#retryAtMs = nowMs + retryStepMs
      return Math.max(shallowDepth, depth >> 1)
    }
    if (depth >= deepestDepth || nowMs < this.#retryAtMs) {
      this.#baseline = 0
      return depth
    }
    this.#baseline = throughput
    return depth << 1
  }

  #restart(nowMs: number): void {
    this.#windowStartMs = nowMs
    this.#windowBytes = 0
  }
}
