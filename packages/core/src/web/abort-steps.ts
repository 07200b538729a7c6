import { addAbortListener } from 'node:events'

/** Called on an abort: the standard's "abort steps". */
export interface AbortObserver {
  aborted(): void
}

/**
 * The observers of one signal, behind one listener: EventTarget searches all of its listeners for duplicates at each
 * addition. Without observers there is no listener: Node keeps a combined signal alive that has one.
 */
class AbortSteps {
  readonly observers = new Set<AbortObserver>()
  #listener: Disposable | undefined = undefined

  add(signal: AbortSignal, observer: AbortObserver): void {
    this.observers.add(observer)
    // Node's own function, since a user's listener may call stopImmediatePropagation.
    this.#listener ??= addAbortListener(signal, () => {
      for (const one of this.observers) one.aborted()
    })
  }

  delete(observer: AbortObserver): void {
    if (!this.observers.delete(observer) || this.observers.size > 0) return
    this.#listener?.[Symbol.dispose]()
    this.#listener = undefined
  }
}

const stepsOf = new WeakMap<AbortSignal, AbortSteps>()

/** Calls `observer` when `signal` is aborted: the observers of one signal in the order in which they were added. */
export function observeAbort(signal: AbortSignal, observer: AbortObserver): void {
  let steps = stepsOf.get(signal)
  if (steps === undefined) stepsOf.set(signal, (steps = new AbortSteps()))
  steps.add(signal, observer)
}

export function unobserveAbort(signal: AbortSignal, observer: AbortObserver): void {
  stepsOf.get(signal)?.delete(observer)
}
