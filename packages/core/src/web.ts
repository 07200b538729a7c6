import { AsyncLocalStorage } from 'node:async_hooks'
import { defaultScheduler } from './default-scheduler.ts'
import { SchedulerTask } from './web/scheduler-task.ts'
import { currentState, runIn, type SchedulingState } from './web/scheduling-state.ts'
import { taskQueuesOf } from './web/task-queues.ts'
import { isTaskSignal } from './web/task-signal.ts'
import {
  exposeInterface,
  type TaskPriority,
  toAbortSignal,
  toDictionary,
  toTaskPriority,
  toUnsignedLongLong,
} from './web/webidl.ts'

export type { EventHandlerValue } from './web/event-handler.ts'
export { TaskController, type TaskControllerInit } from './web/task-controller.ts'
export {
  TaskPriorityChangeEvent,
  type TaskPriorityChangeEventInit,
} from './web/task-priority-change-event.ts'
export { TaskSignal, type TaskSignalAnyInit } from './web/task-signal.ts'
export type { TaskPriority } from './web/webidl.ts'

export interface SchedulerPostTaskOptions {
  /** Aborts the task. A `TaskSignal` gives it its priority as well, and changes it. */
  signal?: AbortSignal
  /** Fixed, whatever the signal's is. @default the signal's, or else 'user-visible' */
  priority?: TaskPriority
  /** The least time in milliseconds before it is queued. @default 0 */
  delay?: number
}

let only: Scheduler | undefined

/**
 * The web's scheduler: Prioritized Task Scheduling, in the queues of Kiruna's default scheduler.
 * @see https://wicg.github.io/scheduling-apis/#sec-scheduler
 */
export class Scheduler {
  /** For a brand check: any object can have the prototype. */
  readonly #brand = true

  private constructor() {
    if (only !== undefined) throw new TypeError('Illegal constructor')
  }

  static {
    only = new Scheduler()
  }

  /**
   * Calls `callback` in a later turn of its priority.
   * @returns what `callback` returned. It rejects with what `callback` threw, with the reason of `signal`, or with a
   * TypeError if an argument has the wrong type.
   */
  postTask<Result>(callback: () => Result, options: SchedulerPostTaskOptions = {}): Promise<Awaited<Result>> {
    return new Promise((resolve, reject) => {
      if (!(#brand in this)) throw new TypeError('Illegal invocation')
      if (typeof callback !== 'function') throw new TypeError('callback is not a function')
      const { delay, state } = convertOptions(options)
      if (state.abortSource?.aborted) throw state.abortSource.reason
      const inContext = AsyncLocalStorage.snapshot()
      const steps = () => {
        try {
          inContext(runIn, state, () => resolve(callback() as Awaited<Result>))
        } catch (error) {
          reject(error)
        }
      }
      const task = new SchedulerTask(taskQueuesOf(defaultScheduler().loop), state, false, steps, reject)
      if (delay > 0) task.delay(delay)
      else task.queue()
    })
  }

  /**
   * Gives way to what is more urgent. It goes on at the priority of the task that calls it, before other tasks of that
   * priority; outside of a task, at `user-visible`.
   * @returns undefined. It rejects with the reason of the task's signal.
   */
  yield(): Promise<undefined> {
    return new Promise((resolve, reject) => {
      if (!(#brand in this)) throw new TypeError('Illegal invocation')
      const state = currentState() ?? unprioritized
      if (state.abortSource?.aborted) throw state.abortSource.reason
      const steps = () => resolve(undefined)
      new SchedulerTask(taskQueuesOf(defaultScheduler().loop), state, true, steps, reject).queue()
    })
  }
}

exposeInterface(Scheduler, ['postTask', 'yield'])

/** `scheduler.postTask(callback, { priority })` and `await scheduler.yield()`, as in a browser. */
export const scheduler: Scheduler = only!

const unprioritized: SchedulingState = { abortSource: undefined, prioritySource: 'user-visible' }

/** @throws TypeError */
function convertOptions(options: unknown): { delay: number; state: SchedulingState } {
  const members = toDictionary<SchedulerPostTaskOptions>(options, 'options')
  const { delay: rawDelay = 0 } = members
  const delay = toUnsignedLongLong(rawDelay, 'options.delay')
  const { priority: rawPriority } = members
  const priority = rawPriority === undefined ? undefined : toTaskPriority(rawPriority, 'options.priority')
  const { signal: rawSignal } = members
  if (rawSignal === undefined)
    return { delay, state: { abortSource: undefined, prioritySource: priority ?? 'user-visible' } }
  const abortSource = toAbortSignal(rawSignal, 'options.signal')
  const prioritySource = priority ?? (isTaskSignal(abortSource) ? abortSource : 'user-visible')
  return { delay, state: { abortSource, prioritySource } }
}
