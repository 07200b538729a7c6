import { getEventListeners } from 'node:events'
import { trusted } from '@kiruna/priority'
import { EventHandler, type EventHandlerValue } from './event-handler.ts'
import { TaskPriorityChangeEvent } from './task-priority-change-event.ts'
import { exposeInterface, type TaskPriority, toAbortSignals, toDictionary, toTaskPriority } from './webidl.ts'

export interface TaskSignalAnyInit {
  /** A fixed priority, or a signal whose priority the new one follows. @default 'user-visible' */
  priority?: TaskPriority | TaskSignal
}

/** Called before the event is fired: the standard's "priority change algorithm". */
export interface PriorityObserver {
  priorityChanged(): void
}

/** The standard's slots of a signal. Not private fields: the signal itself is made by Node. */
interface Slots {
  priority: TaskPriority
  changing: boolean
  readonly observers: Set<PriorityObserver>
  /** Set on a dependent signal only; one without a source has a fixed priority. */
  readonly dependent: boolean
  source: WeakRef<TaskSignal> | undefined
  /** The signals that follow this priority: each may be collected, unless it is listened to. */
  readonly dependents: Set<WeakRef<TaskSignal>>
  readonly listenedTo: Set<TaskSignal>
  readonly onprioritychange: EventHandler
}

const slotsOf = new WeakMap<object, Slots>()

/** Removes collected followers from a long-lived signal. */
const collected = new FinalizationRegistry<{
  dependents: Set<WeakRef<TaskSignal>>
  one: WeakRef<TaskSignal>
}>(({ dependents, one }) => dependents.delete(one))

/**
 * An AbortSignal with a priority. A `TaskController` has one, `TaskSignal.any` combines several. It is a caller for the
 * whole of Kiruna: `seek.readAll(path, controller.signal)`.
 * @see https://wicg.github.io/scheduling-apis/#sec-task-signal
 */
export class TaskSignal extends AbortSignal {
  /** @internal */
  get [trusted](): true {
    return true
  }

  // AbortSignal's own constructor throws: Illegal constructor.
  private constructor() {
    super()
  }

  /**
   * A signal that is aborted with any of `signals`, and has the priority `init.priority`, or follows that signal's.
   * @throws TypeError
   */
  static override any(signals: Iterable<AbortSignal>, init: TaskSignalAnyInit = {}): TaskSignal {
    const sources = toAbortSignals(signals, 'signals')
    const { priority = 'user-visible' } = toDictionary<TaskSignalAnyInit>(init, 'init')
    return isTaskSignal(priority)
      ? follow(sources, priority)
      : makeTaskSignal(AbortSignal.any(sources), toTaskPriority(priority, 'init.priority'), true)
  }

  /** How urgent the tasks are that were posted with this signal, now. */
  get priority(): TaskPriority {
    return slots(this).priority
  }

  /** Called with a `TaskPriorityChangeEvent`. */
  get onprioritychange(): EventHandlerValue<TaskSignal, TaskPriorityChangeEvent> {
    return slots(this).onprioritychange.value as EventHandlerValue<TaskSignal, TaskPriorityChangeEvent>
  }

  set onprioritychange(value: EventHandlerValue<TaskSignal, TaskPriorityChangeEvent>) {
    slots(this).onprioritychange.set(this, value)
  }

  // Both are overridden only so that a dependent signal with listeners is not collected.
  override addEventListener(...args: Parameters<EventTarget['addEventListener']>): void {
    super.addEventListener(...args)
    if (args[0] === 'prioritychange') keepWhileListenedTo(this)
  }

  override removeEventListener(...args: Parameters<EventTarget['removeEventListener']>): void {
    super.removeEventListener(...args)
    if (args[0] === 'prioritychange') keepWhileListenedTo(this)
  }
}

exposeInterface(TaskSignal, ['priority', 'onprioritychange'])
Object.defineProperty(TaskSignal, 'any', { enumerable: true })

export function isTaskSignal(value: unknown): value is TaskSignal {
  return slotsOf.has(value as object)
}

/** Turns a new AbortSignal into a TaskSignal: only Node can make a signal that fetch and others accept. */
export function makeTaskSignal(signal: AbortSignal, priority: TaskPriority, dependent: boolean): TaskSignal {
  Object.setPrototypeOf(signal, TaskSignal.prototype)
  slotsOf.set(signal, {
    priority,
    changing: false,
    observers: new Set(),
    dependent,
    source: undefined,
    dependents: new Set(),
    listenedTo: new Set(),
    onprioritychange: new EventHandler('prioritychange'),
  })
  return signal as TaskSignal
}

/** @see https://wicg.github.io/scheduling-apis/#tasksignal-have-fixed-priority */
export function hasFixedPriority(signal: TaskSignal): boolean {
  const { dependent, source } = slots(signal)
  return dependent && source?.deref() === undefined
}

export function observePriority(signal: TaskSignal, observer: PriorityObserver): void {
  slots(signal).observers.add(observer)
}

export function unobservePriority(signal: TaskSignal, observer: PriorityObserver): void {
  slots(signal).observers.delete(observer)
}

/**
 * @throws DOMException NotAllowedError: in the middle of a change
 * @see https://wicg.github.io/scheduling-apis/#tasksignal-signal-priority-change
 */
export function signalPriorityChange(signal: TaskSignal, priority: TaskPriority): void {
  const own = slots(signal)
  if (own.changing) {
    throw new DOMException(
      'The priority is being changed: this is a prioritychange listener',
      'NotAllowedError',
    )
  }
  const previousPriority = own.priority
  if (priority === previousPriority) return
  own.changing = true
  own.priority = priority
  for (const observer of own.observers) observer.priorityChanged()
  signal.dispatchEvent(new TaskPriorityChangeEvent('prioritychange', { previousPriority }))
  keepWhileListenedTo(signal) // a `once` listener has been removed
  for (const one of own.dependents) {
    const dependent = one.deref()
    if (dependent !== undefined) signalPriorityChange(dependent, priority)
  }
  own.changing = false
}

/** @see https://wicg.github.io/scheduling-apis/#create-a-dependent-task-signal */
function follow(signals: AbortSignal[], followed: TaskSignal): TaskSignal {
  const result = makeTaskSignal(AbortSignal.any(signals), followed.priority, true)
  const { dependent, source } = slots(followed)
  // Always linked to the controller's own signal, since signals in between may be collected.
  const root = dependent ? source?.deref() : followed
  if (root === undefined) return result
  slots(result).source = new WeakRef(root)
  const { dependents } = slots(root)
  const one = new WeakRef(result)
  dependents.add(one)
  collected.register(result, { dependents, one })
  return result
}

/** @see https://wicg.github.io/scheduling-apis/#sec-task-signal-garbage-collection */
function keepWhileListenedTo(signal: TaskSignal): void {
  const source = slotsOf.get(signal)?.source?.deref()
  if (source === undefined) return
  const { listenedTo } = slots(source)
  if (getEventListeners(signal, 'prioritychange').length > 0) listenedTo.add(signal)
  else listenedTo.delete(signal)
}

function slots(signal: TaskSignal): Slots {
  const own = slotsOf.get(signal)
  if (own === undefined) throw new TypeError('Illegal invocation: not a TaskSignal')
  return own
}
