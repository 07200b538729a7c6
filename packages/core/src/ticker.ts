import { AsyncLocalStorage } from 'node:async_hooks'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'
import type { Link } from '@kiruna/priority/linked-list'
import type { Clock } from './clock.ts'
import type { Cost, Costs } from './cost.ts'
import { Lateness } from './lateness.ts'

/** The run loop, for a ticker. */
interface TickingLoop {
  readonly clock: Clock
  readonly costs: Costs
  addTicker(ticker: Ticker): void
  removeTicker(ticker: Ticker): void
  setAlarm(): void
}

/** What `every` returns: a handle to stop the ticks, or to let the process end in spite of them. */
export class Ticker implements Disposable, Abortable {
  /** @internal the next point of its grid, on the loop's clock */
  dueMs: number
  /** @internal decides between tickers that are due at the same time */
  order = 0
  /** @internal */
  readonly periodMs: number
  /** @internal it runs in the AsyncLocalStorage context of whoever has called `every` */
  readonly job: (lateMs: number, missedTicks: number) => void
  /** @internal */
  keepsAlive = true
  readonly name: string
  /** @internal */
  readonly cost: Cost
  /** @internal of each tick */
  readonly lateness = new Lateness()
  /** @internal */
  missedTicks = 0
  readonly #loop: TickingLoop
  readonly #startMs: number
  readonly #signal: AbortSignal | undefined
  #following: Link<Abortable> | undefined = undefined
  #count = 1

  /** @internal use `every` */
  constructor(
    loop: TickingLoop,
    periodMs: number,
    job: (lateMs: number, missedTicks: number) => void,
    name: string,
    signal: AbortSignal | undefined,
  ) {
    this.#loop = loop
    this.periodMs = periodMs
    this.job = AsyncLocalStorage.bind(job)
    this.name = name
    this.cost = loop.costs.of(name)
    this.#startMs = loop.clock.now()
    this.dueMs = this.#startMs + periodMs
    this.#signal = signal
    if (signal?.aborted) return
    if (signal !== undefined) this.#following = follow(signal, this)
    loop.addTicker(this)
  }

  /** @internal counts a tick, and goes on to the next point of the grid */
  take(nowMs: number): { lateMs: number; missedTicks: number } {
    const lateMs = nowMs - this.dueMs
    const missedTicks = Math.floor(lateMs / this.periodMs)
    this.#count += missedTicks + 1
    // Counted from the start, so that rounding does not add up.
    this.dueMs = this.#startMs + this.#count * this.periodMs
    this.lateness.add(lateMs)
    this.missedTicks += missedTicks
    return { lateMs, missedTicks }
  }

  /** Ends its ticks. Idempotent. */
  stop(): void {
    if (this.#following !== undefined) unfollow(this.#signal!, this.#following)
    this.#loop.removeTicker(this)
  }

  /** @internal its signal has aborted */
  abort(): void {
    this.stop()
  }

  /** The ticks keep the process alive. This is the default. */
  ref(): this {
    this.keepsAlive = true
    this.#loop.setAlarm()
    return this
  }

  /** The process may end in spite of the ticks, which may then be a millisecond or two late: nothing spins for them. */
  unref(): this {
    this.keepsAlive = false
    this.#loop.setAlarm()
    return this
  }

  [Symbol.dispose](): void {
    this.stop()
  }
}
