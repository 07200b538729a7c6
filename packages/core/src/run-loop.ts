import type { Rank } from '@kiruna/priority'
import type { Clock, ClockTimer } from './clock.ts'
import { type Job, JobQueue } from './job-queue.ts'
import { drainMicrotasks } from './microtasks.ts'
import { type Sleeper, Sleepers } from './sleepers.ts'
import type { Ticker } from './ticker.ts'

/** The event loop gets a turn after so much: I/O, timers and other people's callbacks wait no longer. */
const budgetMs = 1
/** A timer has whole milliseconds and comes late by up to one: from here to the deadline an idle loop spins. */
const spinMs = 1.1
/** Slices in ticks that follow one another so closely share one budget. */
const sameTurnMs = 0.1
/** What a timer of Node's takes: 24.8 days. */
export const longestTimeoutMs = 2 ** 31 - 1
/** Without `drainMicrotasks` so many jobs at most are in one batch of immediates. */
const batchLimit = 64

/**
 * Runs queued jobs, the most urgent first and first in, first out within a priority:
 *
 *     every ──────────── deadlines, earliest first: looked at between any two jobs
 *     realtime       ─┐
 *     user-blocking  ─┤   a slice of 1 ms in setImmediate; microtasks are drained
 *     user-visible   ─┤   after each job, so that what it resolved goes on before the next
 *     background     ─┘
 *
 * What is urgent and delivered by I/O does not wait for setImmediate: its slice is the next tick.
 */
export class RunLoop {
  readonly clock: Clock
  readonly #queues = [new JobQueue(), new JobQueue(), new JobQueue(), new JobQueue()] as const
  /** Bit r is set while #queues[r] has a job. */
  #ready = 0
  /** By the next deadline, earliest first. */
  readonly #tickers: Ticker[] = []
  readonly #sleepers = new Sleepers()

  #running = false
  #immediate: NodeJS.Immediate | undefined = undefined
  #timer: ClockTimer | undefined = undefined
  #timerWakesMs = 0
  #tickArmed = false

  /** When the slice under way, or the last one, has had its share. */
  #sliceEndMs = 0
  #turnStartMs = 0
  #lastTickMs = 0
  /**
   * How many jobs run between two looks at the clock, which costs as much as a small job: 1 to 4; 0: look now. If they
   * turn out to be long after many that were short, a frame is late by as many.
   */
  #stride = 1
  #ranSinceClock = 0
  #lastClockMs = 0

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Queues `job(context)` for a turn of its own: never runs it here. */
  enqueue(rank: Rank, job: Job, context: unknown): void {
    this.#queues[rank].push(job, context)
    this.#ready |= 1 << rank
    if (this.#immediate === undefined && !this.#running) this.#arm()
  }

  /** Queues what an I/O completion resumes: if it is urgent, for the end of this tick. */
  deliver(rank: Rank, job: Job, context: unknown): void {
    this.#queues[rank].push(job, context)
    this.#ready |= 1 << rank
    if (this.#running) return
    if (rank > 1) {
      if (this.#immediate === undefined) this.#arm()
    } else if (!this.#tickArmed) {
      this.#tickArmed = true
      process.nextTick(this.#urgentSlice)
    }
  }

  /** Something of this rank should give way: a deadline, something more urgent, or the event loop. */
  shouldYield(rank: Rank): boolean {
    if ((this.#ready & ((1 << rank) - 1)) !== 0) return true
    const nowMs = this.clock.now()
    return nowMs >= this.#sliceEndMs || (this.#tickers.length > 0 && nowMs >= this.#tickers[0]!.dueMs)
  }

  /** Nothing as urgent waits, and the slice has budget left: giving way would change nothing. */
  mayGoOn(rank: Rank): boolean {
    return (this.#ready & ((2 << rank) - 1)) === 0 && !this.shouldYield(rank)
  }

  addTicker(ticker: Ticker): void {
    let at = this.#tickers.length
    while (at > 0 && this.#tickers[at - 1]!.dueMs > ticker.dueMs) at--
    this.#tickers.splice(at, 0, ticker)
    // The slice under way does not know this deadline yet: it looks before its next job.
    if (this.#running) this.#stride = 0
    else this.#armTimer()
  }

  removeTicker(ticker: Ticker): void {
    const at = this.#tickers.indexOf(ticker)
    if (at === -1) return
    this.#tickers.splice(at, 1)
    if (!this.#running) this.#armTimer()
  }

  addSleeper(sleeper: Sleeper): void {
    this.#sleepers.add(sleeper)
    if (!this.#running) this.#armTimer()
  }

  removeSleeper(sleeper: Sleeper): void {
    this.#sleepers.remove(sleeper)
    if (!this.#running) this.#armTimer()
  }

  /** A ticker's wish to keep the process alive has changed. */
  keepAliveChanged(): void {
    if (!this.#running) this.#armTimer()
  }

  #arm(): void {
    this.#immediate = setImmediate(this.#slice)
  }

  /** The slice of a turn of the event loop. */
  readonly #slice = (): void => {
    this.#immediate = undefined
    const nowMs = this.clock.now()
    this.#open(nowMs, nowMs)
    if (drainMicrotasks === undefined) {
      this.#runBatch()
      return
    }
    try {
      while (this.#step(0b1111)) drainMicrotasks()
    } finally {
      this.#close()
    }
  }

  /** The slice of a tick: the urgent only, and all that follow one another share the budget of one turn. */
  readonly #urgentSlice = (): void => {
    this.#tickArmed = false
    if (this.#running || (this.#ready & 0b0011) === 0) return
    const nowMs = this.clock.now()
    if (nowMs - this.#lastTickMs > sameTurnMs) this.#turnStartMs = nowMs
    this.#lastTickMs = nowMs
    if (drainMicrotasks === undefined || nowMs - this.#turnStartMs >= budgetMs) {
      if (this.#immediate === undefined) this.#arm()
      return
    }
    this.#open(nowMs, this.#turnStartMs)
    try {
      while (this.#step(0b0011)) drainMicrotasks()
    } finally {
      this.#close()
      this.#lastTickMs = this.#lastClockMs
    }
  }

  #open(nowMs: number, turnStartMs: number): void {
    this.#running = true
    this.#sliceEndMs = turnStartMs + budgetMs
    this.#stride = 0 // look at the deadlines first
    this.#ranSinceClock = 0
    this.#lastClockMs = nowMs
  }

  /** Runs a ticker that is due, or else the most urgent job. Returns false when the slice is over. */
  #step(ranks: number): boolean {
    if (this.#ranSinceClock >= this.#stride) {
      const nowMs = this.#lookAtClock()
      this.#sleepers.wake(nowMs)
      const ticker = this.#tickers[0]
      if (ticker !== undefined && nowMs >= ticker.dueMs) {
        this.#stride = 0
        this.#fire(ticker, nowMs)
        return true
      }
      if (nowMs >= this.#sliceEndMs) return false
    }
    const ready = this.#ready & ranks
    if (ready === 0) return false
    const rank = (31 - Math.clz32(ready & -ready)) as Rank
    const queue = this.#queues[rank]
    const job = queue.take()
    const context = queue.context
    queue.context = undefined // a task that has ended is not kept until the next job
    if (queue.length === 0) this.#ready &= ~(1 << rank)
    this.#ranSinceClock++
    job(context as never)
    return true
  }

  /** Short jobs double the stride, a long one ends it. */
  #lookAtClock(): number {
    const nowMs = this.clock.now()
    const jobMs = (nowMs - this.#lastClockMs) / this.#ranSinceClock
    this.#stride = jobMs > 0.02 ? 1 : Math.min(this.#stride * 2 || 1, jobMs > 0.005 ? 2 : 4)
    this.#lastClockMs = nowMs
    this.#ranSinceClock = 0
    return nowMs
  }

  #fire(ticker: Ticker, nowMs: number): void {
    // On its grid and in its place before it runs: it may throw, and it may stop itself.
    this.#tickers.shift()
    const lateMs = nowMs - ticker.dueMs
    const missedTicks = Math.floor(lateMs / ticker.periodMs)
    ticker.dueMs = ticker.dueAfter(missedTicks + 1)
    this.addTicker(ticker)
    ticker.job(lateMs, missedTicks)
  }

  /** The same slice where microtasks cannot be drained: Node drains them after each immediate of a batch. */
  #runBatch(): void {
    const queued = this.#queues.reduce((sum, queue) => sum + queue.length, 0)
    let left = Math.min(Math.max(queued, 1), batchLimit)
    let goesOn = true
    const step = () => {
      left--
      try {
        if (goesOn) goesOn = this.#step(0b1111)
      } finally {
        if (left === 0) this.#close()
      }
    }
    for (let i = 1; i < left; i++) setImmediate(step)
    step()
  }

  #close(): void {
    this.#running = false
    if (this.#ready !== 0 && this.#immediate === undefined) this.#arm()
    this.#armTimer()
  }

  /**
   * Sees to it that the next deadline is met: a timer until shortly before, then turn after turn of the event loop.
   * Tickers that do not keep the process alive have the timer only: nothing would hold the loop from blocking.
   * Nothing spins for a sleeper.
   */
  #armTimer(): void {
    const tickMs = this.#tickers[0]?.dueMs ?? Number.POSITIVE_INFINITY
    const spins = this.#tickers.some(one => one.keepsAlive)
    const wakesMs = Math.min(spins ? tickMs - 1 : tickMs, this.#sleepers.nextMs)
    const keepsAlive = spins || this.#sleepers.nextMs < Number.POSITIVE_INFINITY
    const timer = this.#timer
    if (timer !== undefined && wakesMs === this.#timerWakesMs && timer.hasRef() === keepsAlive) return
    timer?.[Symbol.dispose]()
    this.#timer = undefined
    this.#timerWakesMs = wakesMs
    if (wakesMs === Number.POSITIVE_INFINITY) return
    const nowMs = this.clock.now()
    if (wakesMs <= nowMs || (spins && tickMs - nowMs <= spinMs)) {
      if (this.#immediate === undefined) this.#arm()
      return
    }
    this.#timer = this.clock.setTimeout(this.#timeUp, Math.min(wakesMs - nowMs, longestTimeoutMs))
    if (!keepsAlive) this.#timer.unref()
  }

  readonly #timeUp = (): void => {
    this.#timer = undefined
    if (this.#immediate === undefined && !this.#running) this.#arm()
  }
}
