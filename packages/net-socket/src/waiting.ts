import { type Asker, deliver, type Rank, rankOf } from '@kiruna/priority'
import { reportUncaught } from '@kiruna/priority/error'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'

/** Whose reads, writes or accepts wait. */
export interface Owner {
  /** On whose behalf, where the call did not say. It may change while they wait. */
  readonly asker: Asker
  /** The outcome is there. An implementation that completes many at once hands them over most urgent first. */
  handOver(one: Waiting<never>): void
  /** What was handed over has been settled. */
  delivered(one: Waiting<never>): void
  /** The caller's signal has aborted: the owner lets it fail with the reason, now or when the OS is done with it. */
  abort(one: Waiting<never>, reason: unknown): void
  /** The caller has become more or less urgent. */
  rankChanged(one: Waiting<never>): void
}

/** A call that waits for its outcome, and then for its caller's turn. */
export class Waiting<T> implements Abortable {
  /** @internal the ring's: the batch it was handed over with, −1 for none */
  deliveredRank: Rank | -1 = -1
  readonly #owner: Owner
  readonly #asker: Asker | undefined
  readonly #resolve: (value: T) => void
  readonly #reject: (reason: unknown) => void
  /** Follows its caller's signal and priority no longer. undefined: none of the two can change. */
  #unfollow: (() => void) | undefined = undefined
  #state: 'waiting' | 'value' | 'error' | 'settled' = 'waiting'
  #outcome: unknown = undefined

  /** @param asker undefined: its owner's, whoever that is then */
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

  get isDecided(): boolean {
    return this.#state !== 'waiting'
  }

  /** From now on its caller can abort it. Returns false if it has already: then it fails, and never begins. */
  begin(): boolean {
    const { signal } = this.asker
    if (signal?.aborted) {
      this.fail(signal.reason)
      return false
    }
    this.#follow()
    return true
  }

  /** Its owner has another caller. */
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
    try {
      deliver(this.asker, settle, this)
    } catch (error) {
      // An asker's own deliver has thrown: that is uncaught, and must cost nobody their outcome.
      reportUncaught(error)
      this.settle()
    }
  }

  /** Resolves or rejects the promise. */
  settle(): void {
    if (this.#state === 'settled') return
    const isValue = this.#state === 'value'
    this.#state = 'settled'
    if (isValue) this.#resolve(this.settleWith(this.#outcome as T) as T)
    else this.#reject(this.#outcome)
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
