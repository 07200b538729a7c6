/** How long this thread did not come round to its event loop. */
export class Turns {
  longestMs = 0
  over1Ms = 0
  #startMs = performance.now()
  #lastMs = this.#startMs
  #isOver = false

  constructor() {
    const turn = () => {
      this.#note()
      if (!this.#isOver) setImmediate(turn)
    }
    setImmediate(turn)
  }

  /** @returns how long it was in all */
  end(): number {
    this.#isOver = true
    this.#note()
    return this.#lastMs - this.#startMs
  }

  #note(): void {
    const nowMs = performance.now()
    const gapMs = nowMs - this.#lastMs
    this.#lastMs = nowMs
    if (gapMs > 1) this.over1Ms++
    this.longestMs = Math.max(this.longestMs, gapMs)
  }
}
