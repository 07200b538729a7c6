import { type Caller, type Priority, shared } from '@kiruna/priority'
import type { Overrun } from './overrun.ts'
import { type EveryOptions, type NotAsync, Scheduler, type Stats } from './scheduler.ts'
import type { Scope, SpawnOptions, Task, TaskInfo } from './task.ts'
import type { Ticker } from './ticker.ts'

export type { Asker, Caller, Priority } from '@kiruna/priority'
export type { Clock, ClockTimer } from './clock.ts'
export type { LatenessMs } from './lateness.ts'
export type { MissedDeadline, Overrun } from './overrun.ts'
export type {
  EveryOptions,
  EveryStats,
  PriorityStats,
  Scheduler,
  SchedulerOptions,
  Stats,
} from './scheduler.ts'
export { createScheduler } from './scheduler.ts'
export type { ChildOptions, Scope, SpawnOptions, Task, TaskInfo } from './task.ts'
export type { Ticker } from './ticker.ts'

let scheduler = new Scheduler()

// From now on an I/O call on behalf of a bare priority goes on at that priority, in the same queues.
shared.deliver = (rank, job, context) => scheduler.loop.deliver(rank, job, context)

/** The scheduler that the functions below use. @internal */
export function defaultScheduler(): Scheduler {
  return scheduler
}

/** For tests. @internal */
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

/** `Scheduler.every` of the default scheduler: calls `job` every `periodMs`, before anything that is queued. */
export function every<Result>(
  periodMs: number,
  job: (lateMs: number, missedTicks: number) => Result & NotAsync<Result>,
  options?: EveryOptions,
): Ticker {
  return scheduler.every(periodMs, job, options)
}

/** `Scheduler.stats` of the default scheduler: what is queued and has run at each priority, and all ticks. */
export function stats(): Stats {
  return scheduler.stats()
}

/** `Scheduler.tasks` of the default scheduler: name, priority, state and age of each that has not ended. */
export function tasks(): TaskInfo[] {
  return scheduler.tasks()
}

/** `Scheduler.onOverrun` of the default scheduler: who holds the thread for too long. */
export function onOverrun(listener: (overrun: Overrun) => void, overrunMs?: number): void {
  scheduler.onOverrun(listener, overrunMs)
}

/** `Scheduler.doorbell` of the default scheduler: give it to a worker, which rings it when it has posted a message. */
export function doorbell(): SharedArrayBuffer {
  return scheduler.doorbell
}
