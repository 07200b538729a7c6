import { askerOf, type Caller, type Priority, priorities, rankOf } from '@kiruna/priority'
import { checkSignal, ownOptions } from '@kiruna/priority/arguments'
import { coded, invalidType } from '@kiruna/priority/error'
import { nextTick } from '@kiruna/priority/timers'
import { checkMs, longestTimeoutMs } from './clock.ts'
import type { LatenessMs } from './lateness.ts'
import { type MissedDeadline, type Overrun, warnOfMissedDeadline, warnOfOverrun } from './overrun.ts'
import { RunLoop, type RunLoopOptions } from './run-loop.ts'
import type { Scope, SpawnOptions, Task, TaskInfo } from './task.ts'
import { Ticker } from './ticker.ts'
import { Work } from './work.ts'

export interface SchedulerOptions extends RunLoopOptions {
  /** Called when a job has held the thread for `overrunMs`; in development, a process warning once for each name. */
  onOverrun?: (overrun: Overrun) => void
  /** 50 by default, like the web's long tasks. */
  overrunMs?: number
  /** Called when a task has ended after its `deadlineMs`; in development, a process warning once for each name. */
  onMissedDeadline?: (missed: MissedDeadline) => void
}

/** What a scheduler has done so far. */
export type Stats = Record<Priority, PriorityStats> & { every: EveryStats[]; missedDeadlines: number }

export interface PriorityStats {
  /** How many jobs wait for their turn now. */
  queued: number
  run: number
  /** How long jobs have waited for their turn, in milliseconds: one job in each turn of the event loop is measured. */
  latenessMs: LatenessMs
}

/** A ticker that has not been stopped. */
export interface EveryStats {
  name: string
  periodMs: number
  ticks: number
  missedTicks: number
  latenessMs: LatenessMs
}

export interface EveryOptions {
  /** For diagnostics; by default the job's own name. */
  name?: string
  /** Stops the ticker. */
  signal?: AbortSignal
}

/** Makes an async job a type error: it would go on outside of the ticks' order. */
export type NotAsync<Result> = Result extends PromiseLike<unknown> ? never : unknown

/** Its own queues and clock. Most programs need only the default scheduler, whose functions `@kiruna/core` exports. */
export class Scheduler {
  /** @internal */
  readonly loop: RunLoop
  #missedDeadlines = 0
  #disposed = false

  /** @internal use `createScheduler` */
  constructor(options: SchedulerOptions = {}) {
    checkOptions(options)
    this.loop = new RunLoop(options)
    this.onOverrun(options.onOverrun ?? warnOfOverrun, options.overrunMs)
    const { onMissedDeadline = warnOfMissedDeadline } = options
    this.loop.onMissedDeadline = (name, rank, lateMs) => {
      this.#missedDeadlines++
      notify(onMissedDeadline, { name, priority: priorities[rank]!, lateMs })
    }
  }

  /**
   * Starts a task at the caller's priority, in a later turn: never inside this call. If the caller is a task, a scope
   * or a signal, the new task follows its priority and is cancelled with it; it is not its child (`scope.spawn` is
   * that).
   * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; RangeError ERR_OUT_OF_RANGE
   */
  spawn<T>(caller: Caller, work: (scope: Scope) => T | PromiseLike<T>, options?: SpawnOptions): Task<T> {
    const asker = askerOf(caller)
    this.#checkLive()
    const started = new Work(this.loop, undefined, rankOf(asker.priority), work, ownOptions(options))
    if (asker.onPriorityChange !== undefined) {
      const unfollow = asker.onPriorityChange(() => {
        started.priority = asker.priority
        if (asker.fault !== undefined) started.cancel(asker.fault.error)
      })
      started.onEnd(unfollow)
    }
    if (asker.signal !== undefined) started.cancelWith(asker.signal)
    return started.task as Task<T>
  }

  /**
   * Queues one callback: the cheapest way in, 16 bytes. An error that it throws is an uncaught exception. It has no
   * AsyncLocalStorage context.
   * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
   */
  post(priority: Priority, job: () => void): void {
    if (typeof job !== 'function') throw invalidType('job', 'a function', job)
    if (this.#disposed) this.#checkLive()
    this.loop.enqueue(rankOf(priority), job, undefined)
  }

  /**
   * Calls `job` every `periodMs`, ahead of everything that is queued, on a grid that begins now: `lateMs` is how long
   * after its grid point it starts. If the thread was blocked, it is called once afterwards, `missedTicks` says how
   * many points were skipped, and the grid stays. An error that it throws is an uncaught exception, and the ticks go
   * on.
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE: `periodMs` not from 0.1 to 2^31 − 1
   */
  every<Result>(
    periodMs: number,
    job: (lateMs: number, missedTicks: number) => Result & NotAsync<Result>,
    options?: EveryOptions,
  ): Ticker {
    if (typeof job !== 'function') throw invalidType('job', 'a function', job)
    checkMs(periodMs, 'periodMs', periodMs >= 0.1 && periodMs <= longestTimeoutMs, 'from 0.1 to 2^31 − 1')
    const { name = job.name || 'every', signal } = ownOptions(options)
    checkSignal(signal, 'options.signal')
    this.#checkLive()
    return new Ticker(this.loop, periodMs, job, name, signal)
  }

  /**
   * Other threads ring it with `ring` of `@kiruna/core/doorbell`: then `shouldYield()` is true until the event loop has
   * had its turn.
   */
  get doorbell(): SharedArrayBuffer {
    return this.loop.bell.memory
  }

  /** Counters and percentiles, for a status line or a report. */
  stats(): Stats {
    const byPriority = this.loop.queues.map((queue, rank) => {
      const stats: PriorityStats = {
        queued: queue.length - queue.stale,
        run: queue.taken - queue.staleTaken,
        latenessMs: queue.lateness.percentiles(),
      }
      return [priorities[rank]!, stats] as const
    })
    const every = this.loop.tickers.map(({ name, periodMs, lateness, missedTicks }) => ({
      name,
      periodMs,
      ticks: lateness.count,
      missedTicks,
      latenessMs: lateness.percentiles(),
    }))
    return {
      ...(Object.fromEntries(byPriority) as Record<Priority, PriorityStats>),
      every,
      missedDeadlines: this.#missedDeadlines,
    }
  }

  /** The tasks that have not ended, in the order in which they were spawned. */
  tasks(): TaskInfo[] {
    return Array.from(this.loop.live, task => task.info())
  }

  /**
   * From now on `listener` is called for each job that holds the thread for `overrunMs` or longer.
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE
   */
  onOverrun(listener: (overrun: Overrun) => void, overrunMs = 50): void {
    if (typeof listener !== 'function') throw invalidType('listener', 'a function', listener)
    checkPositiveMs(overrunMs, 'overrunMs')
    this.loop.overrunMs = overrunMs
    this.loop.onOverrun = (cost, rank, ms) => {
      const { current } = this.loop
      const task = current instanceof Work ? current : undefined
      const name = task?.name ?? cost.name
      const isEnd = cost === this.loop.endCost
      const overrun: Overrun = { name: isEnd ? `what awaits ${name}` : name, priority: priorities[rank]!, ms }
      if (!isEnd) {
        if (task?.spawnedAt !== undefined) overrun.spawnedAt = task.spawnedAt.stack!
        this.loop.costs.of(name).hasOverrun = true
      }
      notify(listener, overrun)
    }
  }

  /** Stops its ticks and cancels its tasks; what is posted still runs. Nothing can be started any more. Idempotent. */
  dispose(): void {
    this.#disposed = true
    for (const ticker of [...this.loop.tickers]) ticker.stop()
    for (const task of [...this.loop.live]) task.cancel()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #checkLive(): void {
    if (this.#disposed) throw coded(Error, 'ERR_INVALID_STATE', 'The scheduler has been disposed of')
  }
}

/** Makes a scheduler beside the default one, which does not know of it: each has its own turns of the event loop. */
export function createScheduler(options?: SchedulerOptions): Scheduler {
  return new Scheduler(options)
}

/** Calls the listener outside of the loop: an error that it throws must not end a slice or leave a task open. */
function notify<Report>(listener: (report: Report) => void, report: Report): void {
  nextTick(listener, report)
}

function checkOptions(options: SchedulerOptions): void {
  const { clock, guard, onMissedDeadline } = options
  if (clock !== undefined && (typeof clock?.now !== 'function' || typeof clock.setTimeout !== 'function'))
    throw invalidType('options.clock', 'a clock with now and setTimeout', clock)
  if (guard !== undefined && typeof guard !== 'boolean')
    throw invalidType('options.guard', 'a boolean', guard)
  if (onMissedDeadline !== undefined && typeof onMissedDeadline !== 'function')
    throw invalidType('options.onMissedDeadline', 'a function', onMissedDeadline)
  for (const name of ['budgetMs', 'agingMs', 'guardMaxWaitMs'] as const) {
    if (options[name] !== undefined) checkPositiveMs(options[name], `options.${name}`)
  }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE */
function checkPositiveMs(ms: number, name: string): void {
  checkMs(ms, name, ms > 0, 'more than 0 milliseconds')
}
