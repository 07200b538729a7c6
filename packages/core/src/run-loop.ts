import { priorities, type Rank } from '@kiruna/priority'
import { LinkedList } from '@kiruna/priority/linked-list'
import { nextTick, setImmediate } from '@kiruna/priority/timers'
import { Alarm } from './alarm.ts'
import { Bell } from './bell.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Cost, Costed, Costs, longMs, UnknownCost } from './cost.ts'
import { arrivalOrder, DueHeap, isBefore, type Sleeper } from './due-heap.ts'
import { Guard } from './guard.ts'
import type { Job } from './job-queue.ts'
import { drainMicrotasks, runBatch } from './microtasks.ts'
import { outside } from './outside.ts'
import { RankQueue } from './rank-queue.ts'
import type { TaskInfo } from './task.ts'
import type { Ticker } from './ticker.ts'

/** Slices in ticks that follow one another this closely share one budget. */
const sameTurnMs = 0.1
/** A slice ends after this many looks at the clock as well: a test's clock stands still. */
const maxLooksPerSlice = 4096
/** A task, for the loop. */
export interface Live {
  cancel(): void
  info(): TaskInfo
}

export interface RunLoopOptions {
  /** Where the time comes from; Node's clock by default. */
  clock?: Clock
  /** After this the event loop has a turn, for I/O, timers and other callbacks; 1 by default. */
  budgetMs?: number
  /**
   * A job that has waited this long runs although something more urgent is ready: one job of its priority, and the next
   * after as long again. Without it the less urgent may wait for ever.
   */
  agingMs?: number
  /** A job that is expected to run beyond the next tick of `every` waits for that tick; true by default. */
  guard?: boolean
  /** The longest such wait; 20 by default. */
  guardMaxWaitMs?: number
}

/**
 * Runs queued jobs, the most urgent first and first in, first out within a priority:
 *
 *     every ──────────── deadlines, earliest first: looked at between any two jobs
 *     realtime       ─┐
 *     user-blocking  ─┤   a slice of 1 ms in setImmediate; microtasks are drained
 *     user-visible   ─┤   after each job, so that what it resolved goes on before the next
 *     background     ─┘
 *
 * An urgent I/O completion does not wait for setImmediate: its slice is the next tick.
 */
export class RunLoop {
  readonly clock: Clock
  readonly costs = new Costs()
  /** The cost of a task's last turn, and of what follows where the task is awaited. */
  readonly endCost = new UnknownCost('the end of a task')
  readonly queues = priorities.map(priority => new RankQueue(priority))
  /** The earliest deadline first. */
  readonly tickers: Ticker[] = []
  /** Other threads ring it. */
  readonly bell = new Bell()
  /** Tasks that have not ended. */
  readonly live = new LinkedList<Live>()
  /** What the job under way was called with. */
  current: unknown = undefined
  /** Called when a job has held the thread for `overrunMs`. */
  onOverrun: (cost: Cost, rank: Rank, ms: number) => void = () => {}
  overrunMs = Number.POSITIVE_INFINITY
  /** Called when a task has ended after its deadline. */
  onMissedDeadline: (name: string, rank: Rank, lateMs: number) => void = () => {}

  readonly #budgetMs: number
  readonly #agingMs: number
  readonly #guard: Guard | undefined
  readonly #sleepers: DueHeap<Sleeper>
  readonly #nextOrder: () => number
  /** Bit r is set while queues[r] has a job. */
  #ready = 0
  /** Bit r is set once a job of rank r is measured in this turn. */
  #measuredRanks = 0

  #running = false
  #immediate: NodeJS.Immediate | undefined = undefined
  readonly #alarm: Alarm
  #tickArmed = false

  /** When the budget of the slice under way, or of the last one, is used up. */
  #sliceEndMs = 0
  #looksLeft = 0
  #turnStartMs = 0
  #lastTickMs = 0
  /** The bell may ring all the time: at least one job runs between two slices that it ends. */
  #ranSinceRung = true
  /**
   * How many jobs run between two looks at the clock, since a look costs as much as a small job: 1 to 4, or to 8 if
   * nothing ticks; 0: look now. If long jobs follow many short ones, a frame, or the event loop's turn, is late by as
   * many of them.
   */
  #stride = 1
  #ranSinceClock = 0
  #lastClockMs = 0
  /** The last job's cost and rank. */
  #cost: Cost | undefined = undefined
  #rank: Rank = 3

  constructor(options: RunLoopOptions = {}) {
    const { clock = systemClock, budgetMs = 1, agingMs = Number.POSITIVE_INFINITY } = options
    const { guard = true, guardMaxWaitMs = 20 } = options
    this.clock = clock
    this.#budgetMs = budgetMs
    this.#agingMs = agingMs
    this.#guard = guard ? new Guard(guardMaxWaitMs) : undefined
    this.#nextOrder = clock.simulation?.nextOrder ?? arrivalOrder()
    this.#sleepers = new DueHeap(this.#nextOrder)
    this.#alarm = new Alarm(clock, this.bell, () => this.#wake())
  }

  /**
   * Queues `job(context)` for a turn of its own: never runs it here.
   * @param dueMs its deadline: it comes before jobs that are due later, and before jobs without a deadline
   */
  enqueue(rank: Rank, job: Job, context: unknown, dueMs = Number.POSITIVE_INFINITY): void {
    this.#push(rank, job, context, dueMs)
    this.#wake()
  }

  /** Queues the continuation of an I/O completion: for the end of this tick, if it is urgent. */
  deliver(rank: Rank, job: Job, context: unknown, dueMs = Number.POSITIVE_INFINITY): void {
    this.#push(rank, job, context, dueMs)
    if (this.#running) return
    if (rank > 1) this.#wake()
    else if (!this.#tickArmed) {
      this.#tickArmed = true
      outside(nextTick, this.#urgentSlice)
    }
  }

  #push(rank: Rank, job: Job, context: unknown, dueMs: number): void {
    const bit = 1 << rank
    const queue = this.queues[rank]!
    if ((this.#measuredRanks & bit) === 0) {
      this.#measuredRanks |= bit
      if (!queue.isMeasuring) queue.measureNext(this.clock.now())
    }
    if ((this.#ready & bit) === 0) {
      this.#ready |= bit
      if (this.#agingMs < Number.POSITIVE_INFINITY) queue.waitsSinceMs = this.clock.now()
    }
    if (dueMs === Number.POSITIVE_INFINITY) queue.push(job, context)
    else queue.pushDue(job, context, dueMs, this.clock.now())
  }

  /** Whether a job of this rank should give way: to a deadline, to something more urgent, or to the event loop. */
  shouldYield(rank: Rank): boolean {
    if ((this.#ready & ((1 << rank) - 1)) !== 0 || this.bell.isRung) return true
    const nowMs = this.clock.now()
    if (nowMs >= this.#sliceEndMs || --this.#looksLeft <= 0) return true
    return this.tickers.length > 0 && nowMs >= this.tickers[0]!.dueMs
  }

  /** Whether giving way would change nothing: no job as urgent waits, and the slice has budget left. */
  mayGoOn(rank: Rank, cost: Cost): boolean {
    if ((this.#ready & ((2 << rank) - 1)) !== 0 || this.shouldYield(rank)) return false
    if (this.#guard === undefined || this.tickers.length === 0) return true
    return !this.#guard.wouldHold(rank, cost, this.tickers[0]!.dueMs - this.clock.now())
  }

  addTicker(ticker: Ticker): void {
    ticker.order = this.#nextOrder()
    let at = this.tickers.length
    while (at > 0 && isBefore(ticker, this.tickers[at - 1]!)) at--
    this.tickers.splice(at, 0, ticker)
    this.#stride = 0 // the slice under way looks at this deadline before its next job
    this.setAlarm()
  }

  removeTicker(ticker: Ticker): void {
    const at = this.tickers.indexOf(ticker)
    if (at === -1) return
    this.tickers.splice(at, 1)
    this.#guard?.release()
    if (!this.#running) this.#rearm()
  }

  addSleeper(sleeper: Sleeper): void {
    this.#sleepers.add(sleeper)
    this.setAlarm()
  }

  removeSleeper(sleeper: Sleeper): void {
    this.#sleepers.remove(sleeper)
    this.setAlarm()
  }

  /** Called when a deadline comes or goes, or when a ticker's `keepsAlive` changes. */
  setAlarm(): void {
    if (!this.#running) this.#alarm.set(this.tickers, this.#sleepers, this.#guard?.isHolding === true)
  }

  /** Makes sure that a slice follows. Returns false if one is under way or arranged already. */
  #wake(): boolean {
    if (this.#immediate !== undefined || this.#running) return false
    this.#immediate = outside(setImmediate, this.#slice)
    return true
  }

  /** The slice of a turn of the event loop. */
  readonly #slice = (): void => {
    this.#immediate = undefined
    const nowMs = this.clock.now()
    this.#open(nowMs, nowMs)
    if (drainMicrotasks === undefined) {
      const queued = this.queues.reduce((sum, queue) => sum + queue.length, 0)
      const step = () => this.#step(0b1111)
      runBatch(queued, step, () => this.#endTurn())
      return
    }
    try {
      while (this.#step(0b1111)) drainMicrotasks()
    } finally {
      this.#endTurn()
    }
  }

  /** The slice of a tick, for urgent jobs only. Those that follow one another share the budget of one turn. */
  readonly #urgentSlice = (): void => {
    this.#tickArmed = false
    if (this.#running || (this.#ready & 0b0011) === 0) return
    const nowMs = this.clock.now()
    if (nowMs - this.#lastTickMs > sameTurnMs) this.#turnStartMs = nowMs
    this.#lastTickMs = nowMs
    if (drainMicrotasks === undefined || nowMs - this.#turnStartMs >= this.#budgetMs) {
      this.#wake()
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
    this.#sliceEndMs = turnStartMs + this.#budgetMs
    this.#looksLeft = this.clock.simulation?.maxLooksPerSlice() ?? maxLooksPerSlice
    this.#stride = 0 // look at the deadlines first
    this.#ranSinceClock = 0
    this.#lastClockMs = nowMs
    this.#measuredRanks = 0
  }

  /** Runs a ticker that is due, or else the most urgent job. Returns false when the slice is over. */
  #step(ranks: number): boolean {
    if (this.#ranSinceClock >= this.#stride || this.bell.isRung) {
      const nowMs = this.#lookAtClock()
      if (this.#sleepers.length > 0) this.#wakeSleepers(nowMs)
      const ticker = this.tickers[0]
      if (ticker !== undefined && nowMs >= ticker.dueMs) {
        this.#fire(ticker, nowMs)
        return true
      }
      if (nowMs >= this.#sliceEndMs || --this.#looksLeft <= 0) return false
      if (this.bell.isRung && this.#ranSinceRung) {
        this.#ranSinceRung = false
        return false
      }
    }
    const ready = this.#ready & ranks
    if (ready === 0) return false
    const rank = this.tickers.length === 0 ? this.#pick(ready) : this.#pickForTick(ready)
    if (rank === undefined) return false
    const queue = this.queues[rank]!
    const context = (this.current = queue.nextContext())
    const cost = costOf(context, queue)
    const job = queue.take(this.#lastClockMs)
    if (queue.length === 0) this.#ready &= ~(1 << rank)
    this.#begin(cost, rank)
    job(context as never)
    return true
  }

  #pick(ready: number): Rank {
    return this.#agingMs === Number.POSITIVE_INFINITY ? mostUrgent(ready) : this.#pickWithAging(ready)
  }

  /** The guard may hold a job for the next tick; what is less urgent may be short enough. */
  #pickForTick(ready: number): Rank | undefined {
    const leftMs = this.tickers[0]!.dueMs - this.#lastClockMs
    for (let left = ready; left !== 0; ) {
      const rank = this.#pick(left)
      const queue = this.queues[rank]!
      if (!this.#guard?.holds(rank, costOf(queue.nextContext(), queue), leftMs)) return rank
      left &= ~(1 << rank)
    }
    return undefined
  }

  /** The priority whose first job has waited longest, if that is too long; else the most urgent. */
  #pickWithAging(ready: number): Rank {
    let rank = mostUrgent(ready)
    let longestMs = this.#agingMs
    for (let lower = rank + 1; lower < 4; lower++) {
      if ((ready & (1 << lower)) === 0) continue
      const waitedMs = this.#lastClockMs - this.queues[lower]!.waitsSinceMs
      if (waitedMs >= longestMs) [rank, longestMs] = [lower as Rank, waitedMs]
    }
    return rank
  }

  #begin(cost: Cost, rank: Rank): void {
    this.#cost = cost
    this.#rank = rank
    this.#ranSinceClock++
    this.#ranSinceRung = true
    if (cost.needsMeasuring) this.#stride = 0
  }

  /** Short jobs double the stride, a long one ends it. */
  #lookAtClock(): number {
    const nowMs = this.clock.now()
    const elapsedMs = nowMs - this.#lastClockMs
    const ran = this.#ranSinceClock
    const jobMs = elapsedMs / ran
    this.#stride = jobMs > longMs ? 1 : Math.min(this.#stride * 2 || 1, this.#longestStride(jobMs))
    this.#lastClockMs = nowMs
    this.#ranSinceClock = 0
    if (ran > 0) {
      const cost = this.#cost!
      cost.learn(jobMs)
      if (elapsedMs >= this.overrunMs) this.onOverrun(cost, this.#rank, elapsedMs)
    }
    return nowMs
  }

  #longestStride(jobMs: number): number {
    if (jobMs > 0.005) return 2
    return this.tickers.length > 0 ? 4 : 8
  }

  #wakeSleepers(nowMs: number): void {
    while (this.#sleepers.nextMs <= nowMs) {
      const sleeper = this.#sleepers.first!
      this.#sleepers.remove(sleeper)
      sleeper.wake()
    }
  }

  #fire(ticker: Ticker, nowMs: number): void {
    // The ticker is queued again before its job runs, since the job may throw, or stop the ticker.
    this.tickers.shift()
    const { lateMs, missedTicks } = ticker.take(nowMs)
    this.addTicker(ticker)
    this.#guard?.release()
    this.current = undefined
    this.#begin(ticker.cost, 0)
    this.#stride = 0
    ticker.job(lateMs, missedTicks)
  }

  /** The event loop has its turn. */
  #endTurn(): void {
    this.bell.hear()
    this.#close()
  }

  #close(): void {
    if (this.#ranSinceClock > 0) this.#lookAtClock()
    this.current = undefined // do not keep a task that has ended
    this.#running = false
    this.#rearm()
  }

  #rearm(): void {
    if ((this.#ready & ~(this.#guard?.held ?? 0)) !== 0) this.#wake()
    this.setAlarm()
  }
}

function costOf(context: unknown, queue: RankQueue): Cost {
  return context !== undefined && context instanceof Costed ? context.cost : queue.postCost
}

function mostUrgent(ready: number): Rank {
  return (31 - Math.clz32(ready & -ready)) as Rank
}
