import { checkSignal } from './arguments.ts'
import { invalidType, invalidValue } from './error.ts'

/** How urgent something is, most urgent first. The last three are the web standard's names; `realtime` is ours. */
export type Priority = 'realtime' | 'user-blocking' | 'user-visible' | 'background'

/** The four priorities, most urgent first: an index into this is a rank. */
export const priorities: readonly Priority[] = ['realtime', 'user-blocking', 'user-visible', 'background']

/** A priority as a number: 0 is realtime, 3 is background. */
export type Rank = 0 | 1 | 2 | 3

/** On whose behalf an I/O call is made: it says how urgent the call is now, when to stop, and when to resume. */
export interface Asker {
  /** Read when it is needed, never cached: raising it moves what waits. */
  readonly priority: Priority
  /** Cancels what has not completed. */
  readonly signal?: AbortSignal | undefined
  /** Runs a completion when this caller's turn comes. Absent: when the turn of its bare priority comes. */
  deliver?(job: () => void): void
  /** Calls the listener when `priority` changes. Returns the unsubscribing; held only while an operation waits. */
  onPriorityChange?(listener: () => void): () => void
  /** @internal its calls are steps of an operation that has begun: in the lane they go before what has not */
  readonly isContinuation?: boolean
}

/** What every I/O function takes: a priority, a task, a scope, or a web `TaskSignal`. */
export type Caller = Priority | Asker | (AbortSignal & { readonly priority: Priority })

/**
 * What all copies of this package in a thread share, in any version of this major: the four bare askers, core's hook
 * and the lane (see lane.ts).
 */
interface Shared {
  /** Set by core: queues a completion for a bare priority. */
  deliver: ((rank: Rank, job: (context: never) => void, context: unknown) => void) | undefined
  lane: unknown
  askers: readonly Asker[]
}

const key = Symbol.for('@kiruna/priority/1')
const realm = globalThis as { [key]?: Shared }

class BareAsker implements Asker {
  readonly priority: Priority
  readonly #rank: Rank

  constructor(rank: Rank) {
    this.priority = priorities[rank]!
    this.#rank = rank
  }

  deliver(job: () => void): void {
    const hook = shared.deliver
    if (hook === undefined) job()
    else hook(this.#rank, job, undefined)
  }
}

if (realm[key] === undefined) {
  const askers = [new BareAsker(0), new BareAsker(1), new BareAsker(2), new BareAsker(3)]
  Object.defineProperty(realm, key, { value: { deliver: undefined, lane: undefined, askers } })
}
export const shared: Shared = realm[key]!

/**
 * @returns 0 for realtime to 3 for background
 * @throws TypeError ERR_INVALID_ARG_VALUE: not one of the four
 */
export function rankOf(priority: Priority): Rank {
  switch (priority) {
    case 'realtime':
      return 0
    case 'user-blocking':
      return 1
    case 'user-visible':
      return 2
    case 'background':
      return 3
    default:
      throw invalidValue('priority', `must be one of ${oneOf}`, priority)
  }
}

/**
 * The asker behind a caller.
 * @throws TypeError ERR_INVALID_ARG_TYPE: no caller, or something that has no priority
 * @throws TypeError ERR_INVALID_ARG_VALUE: an unknown priority
 */
export function askerOf(caller: Caller): Asker {
  if (typeof caller === 'string') return shared.askers[rankOf(caller)]!
  if (typeof caller !== 'object' || caller === null || !('priority' in caller)) {
    throw invalidType('caller', `a priority (${oneOf}), a task, or an object with a priority`, caller)
  }
  rankOf(caller.priority)
  if (caller instanceof AbortSignal) return signalAskerOf(caller)
  checkSignal(caller.signal, 'caller.signal')
  return caller
}

/** Runs `job(context)` when the asker's turn comes. With a context, the four bare askers need no closure. */
export function deliver<Context>(asker: Asker, job: (context: Context) => void, context?: Context): void {
  let rank = shared.askers.indexOf(asker)
  if (rank === -1) {
    if (asker.deliver !== undefined) {
      asker.deliver(() => job(context as Context))
      return
    }
    rank = rankOf(asker.priority)
  }
  const hook = shared.deliver
  if (hook === undefined) job(context as Context)
  else hook(rank as Rank, job, context)
}

/**
 * The same caller, but never more urgent than `atMost`, and also cancelled by `signal`. It is live: it follows the
 * caller's changes. The rule for libraries: take a caller, never name a priority, only lower it.
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 */
export function limit(caller: Caller, options: { atMost?: Priority; signal?: AbortSignal }): Asker {
  const { atMost, signal } = options
  checkSignal(signal, 'options.signal')
  return new LimitedAsker(askerOf(caller), atMost === undefined ? 0 : rankOf(atMost), signal)
}

class LimitedAsker implements Asker {
  readonly signal: AbortSignal | undefined
  readonly #asker: Asker
  readonly #mostUrgent: Rank

  constructor(asker: Asker, mostUrgent: Rank, signal: AbortSignal | undefined) {
    this.#asker = asker
    this.#mostUrgent = mostUrgent
    const signals = [asker.signal, signal].filter(one => one !== undefined)
    this.signal = signals.length === 2 ? AbortSignal.any(signals) : signals[0]
  }

  get priority(): Priority {
    return priorities[Math.max(rankOf(this.#asker.priority), this.#mostUrgent)]!
  }

  deliver(job: () => void): void {
    if (rankOf(this.#asker.priority) >= this.#mostUrgent) deliver(this.#asker, call, job)
    // First the lowered priority's turn, then the caller's own: the caller may be paused.
    else deliver(shared.askers[this.#mostUrgent]!, () => deliver(this.#asker, call, job))
  }

  onPriorityChange(listener: () => void): () => void {
    return this.#asker.onPriorityChange?.(listener) ?? nothing
  }
}

type PrioritySignal = AbortSignal & { readonly priority: Priority }

/**
 * A web `TaskSignal`: an AbortSignal with a priority and a `prioritychange` event. One listener, however many
 * operations wait: at each addition EventTarget searches all listeners for duplicates.
 */
class SignalAsker implements Asker {
  readonly signal: PrioritySignal
  readonly #listeners = new Set<() => void>()

  constructor(signal: PrioritySignal) {
    this.signal = signal
  }

  get priority(): Priority {
    return this.signal.priority
  }

  onPriorityChange(listener: () => void): () => void {
    if (this.#listeners.size === 0) this.signal.addEventListener('prioritychange', this.#changed)
    this.#listeners.add(listener)
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return
      this.signal.removeEventListener('prioritychange', this.#changed)
    }
  }

  readonly #changed = (): void => {
    for (const listener of this.#listeners) listener()
  }
}

const signalAskers = new WeakMap<PrioritySignal, SignalAsker>()

function signalAskerOf(signal: PrioritySignal): SignalAsker {
  let asker = signalAskers.get(signal)
  if (asker === undefined) signalAskers.set(signal, (asker = new SignalAsker(signal)))
  return asker
}

const oneOf = priorities.map(priority => `'${priority}'`).join(', ')
const nothing = () => {}
const call = (job: () => void) => job()
