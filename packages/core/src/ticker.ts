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
export class Ticker implements Disposable {
  /** @internal the next point of its grid, on the loop's clock */
  dueMs: number
  /** @internal decides between tickers that are due at the same time */
  order = 0
  /** @internal */
  readonly periodMs: number
  /** @internal */
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
  readonly #aborted = () => this.stop()
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
    this.job = job
    this.name = name
    this.cost = loop.costs.of(name)
    this.#startMs = loop.clock.now()
    this.dueMs = this.#startMs + periodMs
    this.#signal = signal
    if (signal?.aborted) return
    signal?.addEventListener('abort', this.#aborted)
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
    this.#signal?.removeEventListener('abort', this.#aborted)
    this.#loop.removeTicker(this)
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
