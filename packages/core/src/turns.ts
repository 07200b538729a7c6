import type { Rank } from '@kiruna/priority'
import { Costed } from './cost.ts'
import { Fifo } from './fifo.ts'
import type { RunLoop } from './run-loop.ts'

/** A queued turn at each rank: the loop calls it with the task whose turn it is. */
const turnAt = ([0, 1, 2, 3] as const).map(rank => (turns: Turns) => turns.takeTurn(rank))

/**
 * A task's place in the queues: its jobs run one after another, each in a turn of its own.
 *
 * The jobs wait in the task's own list, and the loop's queue has one turn for each. When the rank changes, the queued
 * turns go stale where they are, and as many are queued at the new rank. Stale turns stand in front of all turns that
 * are queued there later, so it is enough to count them.
 */
export abstract class Turns extends Costed {
  readonly #loop: RunLoop
  readonly #dueMs: number
  #rank: Rank
  readonly #jobs = new Fifo<() => void>()
  /** How many turns are queued at #rank, and how many stale ones at each rank. */
  #queued = 0
  #stale: number[] | undefined = undefined

  constructor(loop: RunLoop, rank: Rank, dueMs: number) {
    super()
    this.#loop = loop
    this.#rank = rank
    this.#dueMs = dueMs
  }

  protected get loop(): RunLoop {
    return this.#loop
  }

  /** The deadline, on the loop's clock. */
  protected get dueMs(): number {
    return this.#dueMs
  }

  /** Where its turns are queued. */
  protected get rank(): Rank {
    return this.#rank
  }

  /** While it is paused, none of its turns is queued. */
  protected abstract isPaused(): boolean

  protected get hasJobs(): boolean {
    return this.#jobs.length > 0
  }

  /** Runs the continuation of an I/O completion in a turn of its own: soon, if it is urgent. */
  deliver(job: () => void): void {
    this.#jobs.push(job)
    if (this.isPaused()) return
    this.#queued++
    this.#loop.deliver(this.#rank, turnAt[this.#rank]!, this, this.#dueMs)
  }

  /** Runs a job in a turn of its own, later. */
  protected queue(job: () => void): void {
    this.#jobs.push(job)
    if (this.isPaused()) return
    this.#queued++
    this.enqueue()
  }

  protected moveTo(rank: Rank): void {
    const queued = this.#queued
    this.unqueue()
    this.#rank = rank
    for (let i = 0; i < queued; i++) this.enqueue()
    this.#queued = queued
  }

  /** Its queued turns go stale. */
  protected unqueue(): void {
    if (this.#queued === 0) return
    this.#stale ??= [0, 0, 0, 0]
    this.#stale[this.#rank]! += this.#queued
    this.#loop.queues[this.#rank]!.stale += this.#queued
    this.#queued = 0
  }

  /** Each of its jobs gets a turn again. */
  protected requeue(): void {
    for (; this.#queued < this.#jobs.length; this.#queued++) this.enqueue()
  }

  private enqueue(): void {
    this.#loop.enqueue(this.#rank, turnAt[this.#rank]!, this, this.#dueMs)
  }

  /** Its turn has come in the queue of `rank`. @internal */
  takeTurn(rank: Rank): void {
    if (this.#stale !== undefined && this.#stale[rank]! > 0) {
      this.#stale[rank]!--
      const queue = this.#loop.queues[rank]!
      queue.stale--
      queue.staleTaken++
      return
    }
    this.#queued--
    this.#jobs.shift()()
  }
}
