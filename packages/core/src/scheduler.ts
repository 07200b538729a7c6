import { askerOf, type Caller, type Priority, rankOf, shared } from '@kiruna/priority'
import { checkSignal } from '@kiruna/priority/arguments'
import { invalidType, outOfRange } from '@kiruna/priority/error'
import { RunLoop } from './run-loop.ts'
import type { Scope, SpawnOptions, Task } from './task.ts'
import { Ticker } from './ticker.ts'
import { Work } from './work.ts'

export type { Asker, Caller, Priority } from '@kiruna/priority'
export type { ChildOptions, Scope, SpawnOptions, Task } from './task.ts'
export type { Ticker } from './ticker.ts'

const loop = new RunLoop()

// From now on an I/O call on behalf of a bare priority goes on at that priority, in the same queues.
shared.deliver = (rank, job, context) => loop.deliver(rank, job, context)

/**
 * Starts a task at the caller's priority, in a later turn: never inside this call. If the caller is a task, a scope or
 * a signal, the new task follows its priority and is cancelled with it; it is not its child (`scope.spawn` is that).
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; RangeError ERR_OUT_OF_RANGE
 */
export function spawn<T>(
  caller: Caller,
  work: (scope: Scope) => T | PromiseLike<T>,
  options: SpawnOptions = {},
): Task<T> {
  const asker = askerOf(caller)
  const started = new Work(loop, undefined, rankOf(asker.priority), work, options)
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
export function post(priority: Priority, job: () => void): void {
  if (typeof job !== 'function') throw invalidType('job', 'a function', job)
  loop.enqueue(rankOf(priority), job, undefined)
}

/**
 * Calls `job` every `periodMs`, ahead of everything that is queued, on a grid that begins now: `lateMs` is how long
 * after its grid point it starts. After a block it is called once, `missedTicks` says how many points went by, and the
 * grid stays. What it throws is an uncaught exception, and the ticks go on.
 * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE: `periodMs` not from 0.1 to 2^31 − 1
 */
export function every<Result>(
  periodMs: number,
  job: (lateMs: number, missedTicks: number) => Result & NotAsync<Result>,
  options: { name?: string; signal?: AbortSignal } = {},
): Ticker {
  if (typeof job !== 'function') throw invalidType('job', 'a function', job)
  if (typeof periodMs !== 'number') throw invalidType('periodMs', 'a number of milliseconds', periodMs)
  if (!(periodMs >= 0.1 && periodMs <= 2 ** 31 - 1))
    throw outOfRange('periodMs', 'from 0.1 to 2^31 − 1', periodMs)
  const { name = job.name || 'every', signal } = options
  checkSignal(signal, 'options.signal')
  return new Ticker(loop, periodMs, job, name, signal)
}

/** An async job would be resumed out of the ticks' order: it is a type error. */
type NotAsync<Result> = Result extends PromiseLike<unknown> ? never : unknown
