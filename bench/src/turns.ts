/** How long this thread did not come round to its event loop. */
export class Turns {
  longestMs = 0
  /** From the beginning to the end. */
  totalMs = 0
  over1Ms = 0
  #startMs = performance.now()
  #lastMs = this.#startMs
  #isOver = false

  constructor() {
    const turn = () => {
      if (this.#isOver) return
      this.#note()
      setImmediate(turn)
    }
    setImmediate(turn)
  }

  end(): void {
    this.#isOver = true
    this.#note()
    this.totalMs = this.#lastMs - this.#startMs
  }

  #note(): void {
    const nowMs = performance.now()
    const gapMs = nowMs - this.#lastMs
    this.#lastMs = nowMs
    if (gapMs > 1) this.over1Ms++
    this.longestMs = Math.max(this.longestMs, gapMs)
  }
}
