import { checkSignal, isAbortSignal, ownOptions } from './arguments.ts'
import { invalidType, invalidValue, reportUncaught } from './error.ts'
import { follow } from './follow-signal.ts'

/** How urgent something is, most urgent first. The last three are the web standard's names; `realtime` is ours. */
export type Priority = 'realtime' | 'user-blocking' | 'user-visible' | 'background'

/** The four priorities, most urgent first: an index into this is a rank. */
export const priorities: readonly Priority[] = ['realtime', 'user-blocking', 'user-visible', 'background']

/** A priority as a number: 0 is realtime, 3 is background. */
export type Rank = 0 | 1 | 2 | 3

/** The four as an error lists them. */
const oneOf = priorities.map(priority => `'${priority}'`).join(', ')

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
  /** @internal what its own code has thrown: the call rejects with it */
  readonly fault?: Fault | undefined
  /** @internal whose memory the bytes are that wait to be delivered; absent: its own */
  readonly owner?: object
}

/** What a caller's own code has thrown. */
export interface Fault {
  readonly error: unknown
}

/** What every I/O function takes: a priority, a task, a scope, or a web `TaskSignal`. */
export type Caller = Priority | Asker | (AbortSignal & { readonly priority: Priority })

/**
 * On the prototype of an asker that throws nothing and always has one of the four priorities: ours, a task, a scope, a
 * `TaskSignal` of core. All others are guarded.
 */
export const trusted = Symbol.for('@kiruna/priority/trusted')

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

const key = Symbol.for('@kiruna/priority/2')

const realm = globalThis as { [key]?: Shared }

class BareAsker implements Asker {
  readonly priority: Priority
  readonly #rank: Rank

  constructor(rank: Rank) {
    this.priority = priorities[rank]!
    this.#rank = rank
  }

  get [trusted](): true {
    return true
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
 * The asker behind a caller. It throws nothing, and its priority is always one of the four: see GuardedAsker.
 * @throws TypeError ERR_INVALID_ARG_TYPE: no caller, or something that has no priority
 * @throws TypeError ERR_INVALID_ARG_VALUE: an unknown priority
 */
export function askerOf(caller: Caller): Asker {
  if (typeof caller === 'string') return shared.askers[rankOf(caller)]!
  if (typeof caller !== 'object' || caller === null || !('priority' in caller)) {
    throw invalidType('caller', `a priority (${oneOf}), a task, or an object with a priority`, caller)
  }
  const isTrusted = trusted in caller
  if (isAbortSignal(caller)) {
    const asker = signalAskerOf(caller)
    return isTrusted ? asker : guarded(asker)
  }
  return isTrusted ? caller : guarded(caller)
}

/** @throws what is wrong with the caller now; what goes wrong later is its `fault` */
function guarded(caller: Asker): GuardedAsker {
  const { priority, signal, deliver } = caller
  rankOf(priority)
  checkSignal(signal, 'caller.signal')
  if (deliver === undefined) return new GuardedAsker(caller, priority, signal)
  if (typeof deliver !== 'function') throw invalidType('caller.deliver', 'a function', deliver)
  return new GuardedDeliverer(caller, priority, signal)
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

/**
 * The same caller, but never more urgent than `atMost`, and also cancelled by `signal`. It is live: it follows the
 * caller's changes. The rule for libraries: take a caller, never name a priority, only lower it.
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 */
export function limit(caller: Caller, options: { atMost?: Priority; signal?: AbortSignal }): Asker {
  const { atMost, signal } = ownOptions(options)
  checkSignal(signal, 'options.signal')
  const asker = askerOf(caller)
  const mostUrgent = atMost === undefined ? 0 : rankOf(atMost)
  return asker instanceof LimitedAsker
    ? asker.limitedTo(mostUrgent, signal)
    : new LimitedAsker(asker, mostUrgent, bothOf(asker.signal, signal))
}

class LimitedAsker implements Asker {
  readonly signal: AbortSignal | undefined
  readonly #asker: Asker
  readonly #mostUrgent: Rank

  constructor(asker: Asker, mostUrgent: Rank, signal: AbortSignal | undefined) {
    this.#asker = asker
    this.#mostUrgent = mostUrgent
    this.signal = signal
  }

  get [trusted](): true {
    return true
  }

  /** A limit of a limit is one limit, however many there are. */
  limitedTo(mostUrgent: Rank, signal: AbortSignal | undefined): LimitedAsker {
    return new LimitedAsker(
      this.#asker,
      Math.max(mostUrgent, this.#mostUrgent) as Rank,
      bothOf(this.signal, signal),
    )
  }

  get priority(): Priority {
    return priorities[Math.max(rankOf(this.#asker.priority), this.#mostUrgent)]!
  }

  get isContinuation(): boolean {
    return this.#asker.isContinuation === true
  }

  get fault(): Fault | undefined {
    return this.#asker.fault
  }

  get owner(): object {
    return this.#asker.owner ?? this.#asker
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

function bothOf(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  if (one === undefined || other === undefined) return one ?? other
  return AbortSignal.any([ofThisRealm(one), ofThisRealm(other)])
}

/** `AbortSignal.any` takes no signals of others. */
function ofThisRealm(signal: AbortSignal): AbortSignal {
  if ((signal as unknown) instanceof AbortSignal) return signal
  const controller = new AbortController()
  if (signal.aborted) controller.abort(signal.reason)
  else follow(signal, controller)
  return controller.signal
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

  get [trusted](): true {
    return true
  }

  get priority(): Priority {
    return this.signal.priority
  }

  get owner(): object {
    return this.signal
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

const nothing = () => {}
const call = (job: () => void) => job()
