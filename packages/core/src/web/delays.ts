import type { Sleeper } from '../due-heap.ts'
import type { RunLoop } from '../run-loop.ts'
import type { SchedulerTask } from './scheduler-task.ts'
import { runInNone } from './scheduling-state.ts'

/** Those that are due at one time, in the order of posting: of a loop's sleepers, a test may have it otherwise. */
class Due implements Sleeper {
  place = -1
  readonly tasks = new Set<SchedulerTask>()
  readonly dueMs: number
  readonly #dues: Map<number, Due>

  constructor(dueMs: number, dues: Map<number, Due>) {
    this.dueMs = dueMs
    this.#dues = dues
    dues.set(dueMs, this)
  }

  wake(): void {
    this.#dues.delete(this.dueMs)
    for (const task of this.tasks) task.queue()
  }
}

/**
 * What was posted with a delay, until it is over.
 * @see https://html.spec.whatwg.org/multipage/timers-and-user-prompts.html#run-steps-after-a-timeout
 */
export class Delays {
  readonly #loop: RunLoop
  readonly #dues = new Map<number, Due>()

  constructor(loop: RunLoop) {
    this.#loop = loop
  }

  /** Returns when it is due, for `remove`. */
  add(task: SchedulerTask, delayMs: number): number {
    const dueMs = this.#loop.clock.now() + delayMs
    let due = this.#dues.get(dueMs)
    if (due === undefined) {
      const added = (due = new Due(dueMs, this.#dues))
      runInNone(() => this.#loop.addSleeper(added))
    }
    due.tasks.add(task)
    return dueMs
  }

  remove(task: SchedulerTask, dueMs: number): void {
    const due = this.#dues.get(dueMs)
    if (due === undefined || !due.tasks.delete(task) || due.tasks.size > 0) return
    this.#dues.delete(dueMs)
    runInNone(() => this.#loop.removeSleeper(due))
  }
}
