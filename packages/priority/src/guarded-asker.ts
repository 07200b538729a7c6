import { type Asker, type Fault, trusted } from './asker.ts'
import { reportUncaught } from './error.ts'
import { type Priority, rankOf } from './rank.ts'

/**
 * A caller that somebody else has written. What its code throws, or a priority that becomes none of the four, costs its
 * own call and nobody else's: the last priority that was one stands, the call rejects with the fault, and what can
 * reject nothing any more is an uncaught exception.
 */
export class GuardedAsker implements Asker {
  readonly signal: AbortSignal | undefined
  /** The caller itself: there is a guard for each call. */
  readonly owner: object
  fault: Fault | undefined = undefined
  /** Who has been given. */
  readonly caller: Asker
  #priority: Priority

  /** @param priority the caller's, which has been checked */
  constructor(caller: Asker, priority: Priority, signal: AbortSignal | undefined) {
    this.caller = caller
    this.owner = caller.owner ?? caller
    this.#priority = priority
    this.signal = signal
  }

  get [trusted](): true {
    return true
  }

  get priority(): Priority {
    if (this.fault !== undefined) return this.#priority
    try {
      const { priority } = this.caller
      rankOf(priority)
      this.#priority = priority
    } catch (error) {
      this.fault = { error }
    }
    return this.#priority
  }

  get isContinuation(): boolean {
    return this.caller.isContinuation === true
  }

  onPriorityChange(listener: () => void): () => void {
    try {
      const unsubscribe = this.caller.onPriorityChange?.(listener)
      return unsubscribe === undefined ? nothing : () => this.#call(unsubscribe)
    } catch (error) {
      this.fault ??= { error }
      return nothing
    }
  }

  #call(unsubscribe: () => void): void {
    try {
      unsubscribe()
    } catch (error) {
      this.fault ??= { error }
    }
  }
}

/** One that has a `deliver` of its own. */
export class GuardedDeliverer extends GuardedAsker {
  /** The outcome is known by now: what `deliver` throws is an uncaught exception, and the job runs all the same, once. */
  deliver(job: () => void): void {
    let hasRun = false
    const once = (): void => {
      if (hasRun) return
      hasRun = true
      job()
    }
    try {
      this.caller.deliver!(once)
    } catch (error) {
      reportUncaught(error)
      once()
    }
  }
}

const nothing = () => {}
