import { makeTaskSignal, signalPriorityChange, type TaskSignal } from './task-signal.ts'
import { exposeInterface, type TaskPriority, toDictionary, toTaskPriority } from './webidl.ts'

export interface TaskControllerInit {
  /** @default 'user-visible' */
  priority?: TaskPriority
}

/**
 * Aborts tasks, and changes their priority: those that were posted with its `signal`.
 * @see https://wicg.github.io/scheduling-apis/#sec-task-controller
 */
export class TaskController extends AbortController {
  declare readonly signal: TaskSignal
  readonly #signal: TaskSignal

  /** @throws TypeError: the priority is not one of the three */
  constructor(init: TaskControllerInit = {}) {
    const { priority = 'user-visible' } = toDictionary<TaskControllerInit>(init, 'init')
    const first = toTaskPriority(priority, 'init.priority')
    super()
    this.#signal = makeTaskSignal(this.signal, first, false)
  }

  /**
   * Moves what was posted with the signal, then dispatches `prioritychange` at it and at all that follow it.
   * @throws TypeError: not one of the three
   * @throws DOMException NotAllowedError: called by a listener of such an event
   */
  setPriority(priority: TaskPriority): void {
    signalPriorityChange(this.#signal, toTaskPriority(priority, 'priority'))
  }
}

exposeInterface(TaskController, ['setPriority'])
