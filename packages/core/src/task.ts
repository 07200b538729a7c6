import type { Asker, Priority } from '@kiruna/priority'

export interface SpawnOptions {
  /** For errors and diagnostics; by default the work function's own name. */
  name?: string
  /** Cancels the task. */
  signal?: AbortSignal
  /** The task starts no earlier than this; 0 by default. */
  delayMs?: number
  /**
   * Counted from the spawn. Within its priority the task comes before those that have a later deadline or none; if it
   * ends later, that is reported (`onMissedDeadline`). It cancels nothing.
   */
  deadlineMs?: number
}

/** What `tasks()` says of a task that has not ended. */
export interface TaskInfo {
  name: string
  priority: Priority
  /** `waiting`: for I/O, a sleep, a child or somebody else's promise. */
  state: 'delayed' | 'paused' | 'queued' | 'running' | 'waiting'
  /** Since it was spawned. */
  ageMs: number
}

export interface ChildOptions extends SpawnOptions {
  /** The child's own; without it the child follows its parent's. */
  priority?: Priority
  /** Its failure rejects only its own promise, and neither cancels its siblings nor fails its parent. */
  contain?: boolean
}

/** The handle of a task: a real promise of what its work returns. `await task` goes on at the task's priority. */
export interface Task<T = unknown> extends Promise<T>, Asker, AsyncDisposable {
  /** Its own priority, or a boost's. Setting it moves queued jobs, waiting operations, and its children. */
  priority: Priority
  readonly name: string
  readonly signal: AbortSignal
  /** Cancels it: it rejects with `reason` (an AbortError) once its work and its children have ended. Idempotent. */
  cancel(reason?: unknown): void
  /** Until disposed of, the task is at least as urgent as `priority`. */
  boost(priority: Priority): Disposable
  /** Until disposed of, nothing of the task or its children starts or goes on; `cancel` still wakes it. */
  pause(): Disposable
  deliver(job: () => void): void
  onPriorityChange(listener: () => void): () => void
}

/** What the work of a task sees. It is a caller: pass it to every I/O call. */
export interface Scope extends Asker {
  priority: Priority
  readonly name: string
  readonly signal: AbortSignal
  /** Gives way to what is at least as urgent, then goes on at its priority. @throws the reason when cancelled */
  yield(): Promise<void>
  /** Whether something waits that should run first. Cheap enough for every step of 20 µs. */
  shouldYield(): boolean
  /** @throws the reason when cancelled, at once */
  sleep(ms: number): Promise<void>
  /** Waits for any promise, and goes on at this priority. A task is raised to this priority until it settles. */
  run<U>(foreign: PromiseLike<U>): Promise<U>
  /** A child: it follows this priority, is awaited and cancelled with its parent, and fails it. */
  spawn<U>(work: (scope: Scope) => U | PromiseLike<U>, options?: ChildOptions): Task<U>
  deliver(job: () => void): void
  onPriorityChange(listener: () => void): () => void
}
