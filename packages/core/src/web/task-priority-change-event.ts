import { exposeInterface, type TaskPriority, toDictionary, toTaskPriority } from './webidl.ts'

type EventInit = NonNullable<ConstructorParameters<typeof Event>[1]>

export interface TaskPriorityChangeEventInit extends EventInit {
  previousPriority: TaskPriority
}

/**
 * What a `TaskSignal` dispatches when its priority has changed. The new priority is `event.target.priority`.
 * @see https://wicg.github.io/scheduling-apis/#sec-task-priority-change-event
 */
export class TaskPriorityChangeEvent extends Event {
  readonly #previousPriority: TaskPriority

  /** @throws TypeError: `init.previousPriority` is missing, or not one of the three */
  constructor(type: string, init: TaskPriorityChangeEventInit) {
    // biome-ignore lint/complexity/noArguments: `undefined` is a type, an argument that is missing is not
    if (arguments.length < 2) throw new TypeError('TaskPriorityChangeEvent takes a type and an init')
    const members = toDictionary<TaskPriorityChangeEventInit>(init, 'init')
    const { bubbles, cancelable, composed, previousPriority } = members
    if (previousPriority === undefined) throw new TypeError('init.previousPriority is required')
    const previous = toTaskPriority(previousPriority, 'init.previousPriority')
    super(type, { bubbles: !!bubbles, cancelable: !!cancelable, composed: !!composed })
    this.#previousPriority = previous
  }

  /** The signal's priority before the change. */
  get previousPriority(): TaskPriority {
    return this.#previousPriority
  }
}

exposeInterface(TaskPriorityChangeEvent, ['previousPriority'])
