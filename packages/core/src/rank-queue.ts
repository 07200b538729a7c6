import type { Priority } from '@kiruna/priority'
import { Cost } from './cost.ts'
import { DueHeap, type Placed } from './due-heap.ts'
import { type Job, JobQueue } from './job-queue.ts'
import { Lateness } from './lateness.ts'

/** A job of a task that has a deadline. */
interface DueJob extends Placed {
  readonly job: Job
  readonly context: unknown
  readonly queuedMs: number
}

/**
 * All that is queued at one priority: first in, first out, but what has a deadline comes before the rest, the earliest
 * first. Of the jobs without one, some are measured: how long they wait is what the rest waits, too.
 */
export class RankQueue {
  /** What is posted here costs this. */
  readonly postCost: Cost
  readonly lateness = new Lateness()
  /** Turns in it that their task will not take any more. */
  stale = 0
  /** And such as have been taken. */
  staleTaken = 0
  /** With aging: since when the first has waited. */
  waitsSinceMs = 0
  length = 0
  readonly #jobs = new JobQueue()
  readonly #byDeadline = new DueHeap<DueJob>()
  #dueTaken = 0
  /** Which job is being measured: the one to be taken after so many; −1: none. */
  #measured = -1
  #measuredMs = 0

  constructor(priority: Priority) {
    this.postCost = new Cost(`post('${priority}')`)
  }

  /** How many have been taken. */
  get taken(): number {
    return this.#jobs.taken + this.#dueTaken
  }

  get isMeasuring(): boolean {
    return this.#measured !== -1
  }

  /** The next job that is pushed shall be measured. */
  measureNext(nowMs: number): void {
    this.#measured = this.#jobs.taken + this.#jobs.length
    this.#measuredMs = nowMs
  }

  push(job: Job, context: unknown): void {
    this.length++
    this.#jobs.push(job, context)
  }

  pushDue(job: Job, context: unknown, dueMs: number, nowMs: number): void {
    this.length++
    this.#byDeadline.add({ job, context, dueMs, queuedMs: nowMs, place: -1 })
  }

  /** What the next job will be called with. Only where there is one. */
  nextContext(): unknown {
    return this.#byDeadline.length > 0 ? this.#byDeadline.first!.context : this.#jobs.nextContext()
  }

  /** Takes the next job: `nextContext` is asked before. Only where there is one. */
  take(nowMs: number): Job {
    this.waitsSinceMs = nowMs
    this.length--
    if (this.#byDeadline.length > 0) return this.#takeDue(nowMs)
    const jobs = this.#jobs
    if (jobs.taken === this.#measured) {
      this.lateness.add(Math.max(0, nowMs - this.#measuredMs))
      this.#measured = -1
    }
    return jobs.take()
  }

  #takeDue(nowMs: number): Job {
    const first = this.#byDeadline.first!
    this.#byDeadline.remove(first)
    this.#dueTaken++
    this.lateness.add(Math.max(0, nowMs - first.queuedMs))
    return first.job
  }
}
