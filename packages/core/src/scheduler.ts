import { askerOf, type Caller, type Priority, rankOf } from '@kiruna/priority'
import { checkSignal } from '@kiruna/priority/arguments'
import { invalidType, outOfRange } from '@kiruna/priority/error'
import { type Clock, systemClock } from './clock.ts'
import { RunLoop } from './run-loop.ts'
import type { Scope, SpawnOptions, Task } from './task.ts'
import { Ticker } from './ticker.ts'
import { Work } from './work.ts'

export interface SchedulerOptions {
  /** Where it gets its time from; Node's. */
  clock?: Clock
}

export interface EveryOptions {
  /** For diagnostics; the job's own name. */
  name?: string
  /** Stops it. */
  signal?: AbortSignal
}

/** An async job would be resumed out of the ticks' order: it is a type error. */
export type NotAsync<Result> = Result extends PromiseLike<unknown> ? never : unknown

/** Queues and a clock of its own. Most programs need only the default one, whose functions `@kiruna/core` exports. */
export class Scheduler {
  /** @internal */
  readonly loop: RunLoop

  /** @internal use `createScheduler` */
  constructor({ clock = systemClock }: SchedulerOptions = {}) {
    this.loop = new RunLoop(clock)
  }

  /**
   * Starts a task at the caller's priority, in a later turn: never inside this call. If the caller is a task, a scope or
   * a signal, the new task follows its priority and is cancelled with it; it is not its child (`scope.spawn` is that).
   * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; RangeError ERR_OUT_OF_RANGE
   */
  spawn<T>(caller: Caller, work: (scope: Scope) => T | PromiseLike<T>, options: SpawnOptions = {}): Task<T> {
    const asker = askerOf(caller)
    const started = new Work(this.loop, undefined, rankOf(asker.priority), work, options)
    if (asker.onPriorityChange !== undefined) {
      const unfollow = asker.onPriorityChange(() => {
        started.priority = asker.priority
      })
      started.onEnd(unfollow)
    }
    if (asker.signal !== undefined) started.cancelWith(asker.signal)
    return started.task as Task<T>
  }

  /**
   * Queues one callback: the cheapest way in, 16 bytes. What it throws is an uncaught exception. It has no
   * AsyncLocalStorage context of its own.
   * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
   */
  post(priority: Priority, job: () => void): void {
    if (typeof job !== 'function') throw invalidType('job', 'a function', job)
    this.loop.enqueue(rankOf(priority), job, undefined)
  }

  /**
   * Calls `job` every `periodMs`, ahead of everything that is queued, on a grid that begins now: `lateMs` is how long
   * after its grid point it starts. After a block it is called once, `missedTicks` says how many points went by, and the
   * grid stays. What it throws is an uncaught exception, and the ticks go on.
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE: `periodMs` not from 0.1 to 2^31 − 1
   */
  every<Result>(
    periodMs: number,
    job: (lateMs: number, missedTicks: number) => Result & NotAsync<Result>,
    options: EveryOptions = {},
  ): Ticker {
    if (typeof job !== 'function') throw invalidType('job', 'a function', job)
    if (typeof periodMs !== 'number') throw invalidType('periodMs', 'a number of milliseconds', periodMs)
    if (!(periodMs >= 0.1 && periodMs <= 2 ** 31 - 1))
      throw outOfRange('periodMs', 'from 0.1 to 2^31 − 1', periodMs)
    const { name = job.name || 'every', signal } = options
    checkSignal(signal, 'options.signal')
    return new Ticker(this.loop, periodMs, job, name, signal)
  }
}

/** A scheduler beside the default one: the two take turns of the event loop, and know nothing of each other. */
export function createScheduler(options?: SchedulerOptions): Scheduler {
  return new Scheduler(options)
}
