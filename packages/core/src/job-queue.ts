/** What is queued: a function and what it is called with, so that a job needs no closure of its own. */
export type Job = (context: never) => void

const leastCapacity = 64

/**
 * First in, first out: a ring of pairs, 16 bytes a job and no allocation for one.
 *
 *     slots  ┌────┬────┬────┬────┬────┬────┬────┬────┐
 *            │    │    │ f₀ │ c₀ │ f₁ │ c₁ │    │    │    capacity is a power of two
 *            └────┴────┴────┴────┴────┴────┴────┴────┘
 *                      ▲ head      length = 2
 */
export class JobQueue {
  length = 0
  /** What the job last taken is to be called with. */
  context: unknown = undefined
  #slots: unknown[] = new Array(leastCapacity * 2).fill(undefined)
  #capacity = leastCapacity
  #head = 0

  push(job: Job, context: unknown): void {
    if (this.length === this.#capacity) this.#resize(this.#capacity * 2)
    const slot = ((this.#head + this.length++) & (this.#capacity - 1)) * 2
    this.#slots[slot] = job
    this.#slots[slot + 1] = context
  }

  /** Takes the first job and leaves its context in `context`. Only where there is one. */
  take(): Job {
    const slot = this.#head * 2
    const job = this.#slots[slot] as Job
    this.context = this.#slots[slot + 1]
    this.#slots[slot] = this.#slots[slot + 1] = undefined
    this.#head = (this.#head + 1) & (this.#capacity - 1)
    // A burst has passed: its memory goes.
    if (--this.length === 0 && this.#capacity > 4096) this.#resize(leastCapacity)
    return job
  }

  #resize(capacity: number): void {
    const slots: unknown[] = new Array(capacity * 2).fill(undefined)
    for (let i = 0; i < this.length; i++) {
      const from = ((this.#head + i) & (this.#capacity - 1)) * 2
      slots[i * 2] = this.#slots[from]
      slots[i * 2 + 1] = this.#slots[from + 1]
    }
    this.#slots = slots
    this.#capacity = capacity
    this.#head = 0
  }
}
