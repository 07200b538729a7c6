import type { Sleeper } from '../due-heap.ts'
import type { RunLoop } from '../run-loop.ts'
import { runInNone } from './scheduling-state.ts'

interface DelayedTask {
  queue(): void
}

/** The tasks that are due at one time, in the order of posting: a test's clock may permute the sleepers of a loop. */
class DelayedTasks implements Sleeper {
  place = -1
  readonly tasks = new Set<DelayedTask>()
  readonly dueMs: number
  readonly #byDueMs: Map<number, DelayedTasks>

  constructor(dueMs: number, byDueMs: Map<number, DelayedTasks>) {
    this.dueMs = dueMs
    this.#byDueMs = byDueMs
    byDueMs.set(dueMs, this)
  }

  wake(): void {
    this.#byDueMs.delete(this.dueMs)
    for (const task of this.tasks) task.queue()
  }
}

/**
 * Holds tasks that were posted with a delay until it is over.
 * @see https://html.spec.whatwg.org/multipage/timers-and-user-prompts.html#run-steps-after-a-timeout
 */
export class Delays {
  readonly #loop: RunLoop
  readonly #byDueMs = new Map<number, DelayedTasks>()

  constructor(loop: RunLoop) {
    this.#loop = loop
  }

  /** Returns when it is due, for `remove`. */
  add(task: DelayedTask, delayMs: number): number {
    const dueMs = this.#loop.clock.now() + delayMs
    let due = this.#byDueMs.get(dueMs)
    if (due === undefined) {
      const added = (due = new DelayedTasks(dueMs, this.#byDueMs))
      runInNone(() => this.#loop.addSleeper(added))
    }
    due.tasks.add(task)
    return dueMs
  }

  remove(task: DelayedTask, dueMs: number): void {
    const due = this.#byDueMs.get(dueMs)
    if (due === undefined || !due.tasks.delete(task) || due.tasks.size > 0) return
    this.#byDueMs.delete(dueMs)
    runInNone(() => this.#loop.removeSleeper(due))
  }
}
