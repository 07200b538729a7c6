import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks'
import { MessagePort } from 'node:worker_threads'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'
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

/** The standard's continuation state: it follows promise reactions and queueMicrotask. In Node 24 it costs nothing. */
const storage = new AsyncLocalStorage<SchedulingState | undefined>()

/** Runs a task's callback, with `this` undefined. */
export function runIn<Result>(state: SchedulingState, callback: () => Result): Result {
  return storage.run(state, call, callback) as Result
}

/** Runs what does not belong to the task alone: a timer that the loop sets here serves other tasks as well. */
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
  if (state === undefined || !isTaskOfItsOwn(executionAsyncResource())) return state
  // For the standard a timer's callback and a message are tasks of their own; for Node they continue the task that has
  // set the timer, or made the channel.
  storage.enterWith(undefined)
  return undefined
}

const timer = setTimeout(() => {}, 0)
clearTimeout(timer)
const Timeout = timer.constructor

function isTaskOfItsOwn(resource: object): boolean {
  return resource instanceof Timeout || resource instanceof MessagePort
}

const call = (callback: () => unknown) => callback()
