import { type Caller, type Priority, shared } from '@kiruna/priority'
import { type EveryOptions, type NotAsync, Scheduler } from './scheduler.ts'
import type { Scope, SpawnOptions, Task } from './task.ts'
import type { Ticker } from './ticker.ts'

export type { Asker, Caller, Priority } from '@kiruna/priority'
export type { Clock, ClockTimer } from './clock.ts'
export type { EveryOptions, Scheduler, SchedulerOptions } from './scheduler.ts'
export { createScheduler } from './scheduler.ts'
export type { ChildOptions, Scope, SpawnOptions, Task } from './task.ts'
export type { Ticker } from './ticker.ts'

let scheduler = new Scheduler()

// From now on an I/O call on behalf of a bare priority goes on at that priority, in the same queues.
shared.deliver = (rank, job, context) => scheduler.loop.deliver(rank, job, context)

/** The one that the functions below stand for. @internal */
export function defaultScheduler(): Scheduler {
  return scheduler
}

/** For tests: another takes its place. @internal */
export function replaceDefaultScheduler(other: Scheduler): void {
  scheduler = other
}

/** `Scheduler.spawn` of the default scheduler: starts a task at the caller's priority, in a later turn. */
export function spawn<T>(
  caller: Caller,
  work: (scope: Scope) => T | PromiseLike<T>,
  options?: SpawnOptions,
): Task<T> {
  return scheduler.spawn(caller, work, options)
}

/** `Scheduler.post` of the default scheduler: queues one callback, the cheapest way in. */
export function post(priority: Priority, job: () => void): void {
  scheduler.post(priority, job)
}

/** `Scheduler.every` of the default scheduler: calls `job` every `periodMs`, ahead of everything that is queued. */
export function every<Result>(
  periodMs: number,
  job: (lateMs: number, missedTicks: number) => Result & NotAsync<Result>,
  options?: EveryOptions,
): Ticker {
  return scheduler.every(periodMs, job, options)
}
