import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks'
import type { TaskSignal } from './task-signal.ts'
import type { TaskPriority } from './webidl.ts'

/**
 * What `yield` inherits from the task that it is called in.
 * @see https://wicg.github.io/scheduling-apis/#scheduling-state
 */
export interface SchedulingState {
  readonly abortSource: AbortSignal | undefined
  /** A priority is the standard's fixed priority signal. */
  readonly prioritySource: TaskPriority | TaskSignal
}

/** The standard's continuation state: it goes along with promise reactions and queueMicrotask. Node 24 has it for free. */
const storage = new AsyncLocalStorage<SchedulingState | undefined>()

/** Runs a task's callback, with `this` undefined. */
export function runIn<Result>(state: SchedulingState, callback: () => Result): Result {
  return storage.run(state, call, callback) as Result
}

/** Runs what is not the task's own: a timer of the loop's that is set here serves other tasks as well. */
export function runInNone(job: () => void): void {
  if (storage.getStore() === undefined) job()
  else storage.run(undefined, job)
}

/**
 * The state of the task that is running, or of the one whose promise goes on here.
 * @see https://wicg.github.io/scheduling-apis/#get-the-current-scheduling-state
 */
export function currentState(): SchedulingState | undefined {
  const state = storage.getStore()
  if (state === undefined || !(executionAsyncResource() instanceof Timeout)) return state
  // To the standard the callback of a timer is a task of its own, to Node it is what the one that set it goes on with.
  storage.enterWith(undefined)
  return undefined
}

const timer = setTimeout(() => {}, 0)
clearTimeout(timer)
const Timeout = timer.constructor

const call = (callback: () => unknown) => callback()
