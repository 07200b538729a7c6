/** A function that is queued together with what it is called with, so that a job needs no closure of its own. */
export type Job = (context: never) => void

/** Jobs in the first chunk, and in the largest: 128 KiB, which the garbage collector does not move. */
const minJobs = 64
const maxJobs = 8192

class Chunk {
  next: Chunk | undefined = undefined
  readonly slots: unknown[]

  constructor(jobs: number) {
    this.slots = new Array(jobs * 2)
  }
}

/**
 * First in, first out: pairs in a chain of chunks. A job takes 16 bytes and no allocation of its own, and no array
 * grows with the number of jobs.
 *
 *     first                                    last
 *     ┌────┬────┬────┬────┬────┬────┐         ┌────┬────┬────┬────┬────┬────┐
 *     │    │    │ f₀ │ c₀ │ f₁ │ c₁ │─► … ──► │ f₈ │ c₈ │    │    │    │    │
 *     └────┴────┴────┴────┴────┴────┘         └────┴────┴────┴────┴────┴────┘
 *               ▲ head                                     ▲ tail
 */
export class JobQueue {
  length = 0
  /** How many have been taken. */
  taken = 0
  #first = new Chunk(minJobs)
  #last = this.#first
  #head = 0
  #tail = 0
  /** An emptied chunk, to be used again. */
  #spare: Chunk | undefined = undefined

  push(job: Job, context: unknown): void {
    if (this.#tail === this.#last.slots.length) this.#append()
    const { slots } = this.#last
    slots[this.#tail++] = job
    slots[this.#tail++] = context
    this.length++
  }

  /** What the first job will be called with. Only if the queue is not empty. */
  nextContext(): unknown {
    if (this.#head === this.#first.slots.length) this.#advance()
    return this.#first.slots[this.#head + 1]
  }

  /** Takes the first job; its context is read before, by `nextContext`. Only if the queue is not empty. */
  take(): Job {
    if (this.#head === this.#first.slots.length) this.#advance()
    const { slots } = this.#first
    const job = slots[this.#head] as Job
    slots[this.#head] = slots[this.#head + 1] = undefined
    this.#head += 2
    this.taken++
    if (--this.length === 0) {
      this.#head = this.#tail = 0
      this.#spare = undefined // a burst is over: free its memory
    }
    return job
  }

  #append(): void {
    const chunk = this.#spare ?? new Chunk(Math.min(this.#last.slots.length, maxJobs))
    this.#spare = undefined
    this.#last = this.#last.next = chunk
    this.#tail = 0
  }

  #advance(): void {
    const emptied = this.#first
    this.#first = emptied.next!
    this.#head = 0
    emptied.next = undefined
    if (emptied.slots.length === maxJobs * 2) this.#spare = emptied
  }
}
