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
 * The jobs of one priority: first in, first out, but jobs with a deadline come before the others, the earliest first.
 * Of the jobs without a deadline only some are measured, since the others wait as long.
 */
export class RankQueue {
  /** The cost of jobs that were posted. */
  readonly postCost: Cost
  readonly lateness = new Lateness()
  /** How many of its turns are stale: their task no longer takes them. */
  stale = 0
  /** How many stale turns have been taken. */
  staleTaken = 0
  /** When the first job began to wait, for aging. */
  waitsSinceMs = 0
  length = 0
  readonly #jobs = new JobQueue()
  readonly #byDeadline = new DueHeap<DueJob>()
  #dueTaken = 0
  /** Which job is being measured, counted from the first ever; −1: none. */
  #measuredJob = -1
  #measuredSinceMs = 0

  constructor(priority: Priority) {
    this.postCost = new Cost(`post('${priority}')`)
  }

  /** How many have been taken. */
  get taken(): number {
    return this.#jobs.taken + this.#dueTaken
  }

  get isMeasuring(): boolean {
    return this.#measuredJob !== -1
  }

  /** The next job that is pushed will be measured. */
  measureNext(nowMs: number): void {
    this.#measuredJob = this.#jobs.taken + this.#jobs.length
    this.#measuredSinceMs = nowMs
  }

  push(job: Job, context: unknown): void {
    this.length++
    this.#jobs.push(job, context)
  }

  pushDue(job: Job, context: unknown, dueMs: number, nowMs: number): void {
    this.length++
    this.#byDeadline.add({ job, context, dueMs, queuedMs: nowMs, place: -1 })
  }

  /** What the next job will be called with. Only if the queue is not empty. */
  nextContext(): unknown {
    return this.#byDeadline.length > 0 ? this.#byDeadline.first!.context : this.#jobs.nextContext()
  }

  /** Takes the next job; its context is read before, by `nextContext`. Only if the queue is not empty. */
  take(nowMs: number): Job {
    this.waitsSinceMs = nowMs
    this.length--
    if (this.#byDeadline.length > 0) return this.#takeDue(nowMs)
    const jobs = this.#jobs
    if (jobs.taken === this.#measuredJob) {
      this.lateness.add(Math.max(0, nowMs - this.#measuredSinceMs))
      this.#measuredJob = -1
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
