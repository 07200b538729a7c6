import { type AbortObserver, observeAbort, unobserveAbort } from './abort-steps.ts'
import type { SchedulingState } from './scheduling-state.ts'
import { QueuedTask } from './task-list.ts'
import type { TaskQueues } from './task-queues.ts'
import { hasFixedPriority, observePriority, type PriorityObserver, unobservePriority } from './task-signal.ts'
import type { TaskPriority } from './webidl.ts'

/**
 * A posted callback, or the continuation of a `yield`: the standard's scheduler task and its handle in one.
 * @see https://wicg.github.io/scheduling-apis/#sec-scheduling-tasks-definitions
 */
export class SchedulerTask extends QueuedTask implements AbortObserver, PriorityObserver {
  readonly isContinuation: boolean

  readonly #queues: TaskQueues
  readonly #state: SchedulingState
  readonly #steps: () => void
  readonly #reject: (reason: unknown) => void
  #dueMs: number | undefined = undefined

  /** @param steps what its turn does; must not throw. If it is aborted, `reject` is called instead. */
  constructor(
    queues: TaskQueues,
    state: SchedulingState,
    isContinuation: boolean,
    steps: () => void,
    reject: (reason: unknown) => void,
  ) {
    super()
    this.#queues = queues
    this.#state = state
    this.isContinuation = isContinuation
    this.#steps = steps
    this.#reject = reject
    if (state.abortSource !== undefined) observeAbort(state.abortSource, this)
  }

  get priority(): TaskPriority {
    const { prioritySource } = this.#state
    return typeof prioritySource === 'string' ? prioritySource : prioritySource.priority
  }

  delay(delayMs: number): void {
    this.#dueMs = this.#queues.delays.add(this, delayMs)
  }

  queue(): void {
    this.#dueMs = undefined
    const { prioritySource } = this.#state
    if (typeof prioritySource !== 'string' && !hasFixedPriority(prioritySource)) {
      observePriority(prioritySource, this)
    }
    this.#queues.queue(this)
  }

  /** Its turn has come. It can be aborted while it runs: observing ends in the standard's "task complete steps". */
  run(): void {
    this.#leave()
    this.#steps()
    if (this.#state.abortSource !== undefined) unobserveAbort(this.#state.abortSource, this)
  }

  aborted(): void {
    const signal = this.#state.abortSource!
    unobserveAbort(signal, this)
    this.#leave()
    this.#reject(signal.reason)
  }

  priorityChanged(): void {
    this.#queues.move(this)
  }

  #leave(): void {
    if (this.#dueMs !== undefined) {
      this.#queues.delays.remove(this, this.#dueMs)
      this.#dueMs = undefined
    }
    if (this.list === undefined) return
    this.list.remove(this)
    const { prioritySource } = this.#state
    if (typeof prioritySource !== 'string') unobservePriority(prioritySource, this)
  }
}
