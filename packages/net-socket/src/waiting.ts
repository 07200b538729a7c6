import { type Asker, deliver, type Rank, rankOf } from '@kiruna/priority'
import { reportUncaught } from '@kiruna/priority/error'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'
import { rejectLocated } from '@kiruna/priority/promised'

/** A connection, a listener or a UDP socket, for the calls on it that wait. */
export interface Owner {
  /** The caller of calls that name none. It may change while they wait. */
  readonly asker: Asker
  /** Called with the outcome known. An implementation that completes many at once puts them into a batch. */
  handOver(one: Waiting<never>): void
  /** The call has settled. */
  delivered(one: Waiting<never>): void
  /** The caller's signal has aborted: the owner fails the call with the reason, now or when the OS is done with it. */
  abort(one: Waiting<never>, reason: unknown): void
  /** The caller's priority has changed. */
  rankChanged(one: Waiting<never>): void
}

/** A call that waits for its outcome, and then for its caller's turn. */
export class Waiting<T> implements Abortable {
  /** @internal for the ring: the rank of the batch that it was delivered with, −1 for none */
  deliveredRank: Rank | -1 = -1
  /** What `promised` gave to the caller, for a call whose errors are made for it alone; undefined for all others. */
  promise: Promise<unknown> | undefined = undefined
  readonly #owner: Owner
  readonly #asker: Asker | undefined
  readonly #resolve: (value: T) => void
  readonly #reject: (reason: unknown) => void
  /** Stops following the caller's signal and priority. undefined: neither is followed. */
  #unfollow: (() => void) | undefined = undefined
  #state: 'waiting' | 'value' | 'error' | 'settled' = 'waiting'
  #outcome: unknown = undefined

  /** @param asker undefined: the owner's caller, also after that changes */
  constructor(
    owner: Owner,
    asker: Asker | undefined,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    this.#owner = owner
    this.#asker = asker
    this.#resolve = resolve
    this.#reject = reject
  }

  get asker(): Asker {
    return this.#asker ?? this.#owner.asker
  }

  get rank(): Rank {
    return rankOf(this.asker.priority)
  }

  get hasOutcome(): boolean {
    return this.#state !== 'waiting'
  }

  /** From now on its caller can abort it. Returns false if the signal has aborted already: then it has failed. */
  begin(): boolean {
    const { signal } = this.asker
    if (signal?.aborted) {
      this.fail(signal.reason)
      return false
    }
    this.#follow()
    return true
  }

  /** The owner has another caller. */
  callerChanged(): void {
    if (this.#asker !== undefined || this.#state !== 'waiting') return
    this.#unfollow?.()
    const { signal } = this.asker
    if (signal?.aborted) this.abort(signal.reason)
    else this.#follow()
  }

  succeed(value: T): void {
    this.#decide('value', value)
  }

  fail(reason: unknown): void {
    this.#decide('error', reason)
  }

  /** @internal */
  abort(reason: unknown): void {
    this.#owner.abort(this as Waiting<never>, reason)
  }

  /** Settles when the caller's turn comes. */
  deliver(): void {
    deliver(this.asker, settle, this)
  }

  /** Resolves or rejects the promise. */
  settle(): void {
    if (this.#state === 'settled') return
    const isValue = this.#state === 'value'
    const { fault } = this.asker
    this.#state = 'settled'
    if (fault !== undefined) reportUncaught(fault.error) // what the call has done cannot be undone
    if (isValue) this.#resolve(this.settleWith(this.#outcome as T) as T)
    else if (this.promise === undefined || this.#outcome === this.asker.signal?.reason)
      this.#reject(this.#outcome)
    else rejectLocated(this.promise, this.#reject, this.#outcome)
    this.#owner.delivered(this as Waiting<never>)
  }

  /** What the promise resolves with. */
  protected settleWith(outcome: T): unknown {
    return outcome
  }

  #decide(state: 'value' | 'error', outcome: unknown): void {
    if (this.#state !== 'waiting') return
    this.#state = state
    this.#outcome = outcome
    this.#unfollow?.()
    this.#owner.handOver(this as Waiting<never>)
  }

  #follow(): void {
    const { signal } = this.asker
    const following = signal && follow(signal, this)
    const unfollowPriority = this.asker.onPriorityChange?.(() =>
      this.#owner.rankChanged(this as Waiting<never>),
    )
    if (following === undefined && unfollowPriority === undefined) return
    this.#unfollow = () => {
      if (following !== undefined) unfollow(signal!, following)
      unfollowPriority?.()
      this.#unfollow = undefined
    }
  }
}

function settle(one: { settle(): void }): void {
  one.settle()
}
