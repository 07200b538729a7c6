import { types } from 'node:util'
import { type Priority, trusted } from '@kiruna/priority'
import type { Task } from './task.ts'

/** The task behind its handle. */
interface TaskWork extends Omit<Task, keyof Promise<unknown> | typeof Symbol.asyncDispose> {
  isOwnCancellation(error: unknown): boolean
}

/** A promise that `scope.run` raises while it waits: a task, or a promise of several (join.ts). */
export interface Raisable extends Promise<unknown> {
  boost(priority: Priority): Disposable
}

export function isRaisable(value: unknown): value is Raisable {
  return types.isPromise(value) && 'boost' in value
}

/**
 * A real promise. Its `constructor` property is Promise, so `await` takes it as it is, in one tick, and `then` returns
 * a plain promise.
 */
export class TaskPromise<T> extends Promise<T> implements Task<T> {
  readonly #work: TaskWork

  constructor(
    work: TaskWork,
    executor: (resolve: (value: T) => void, reject: (reason: unknown) => void) => void,
  ) {
    super(executor)
    this.#work = work
  }

  get [trusted](): true {
    return true
  }

  /** @internal as its scope has it */
  get owner(): object {
    return this.#work
  }

  get priority(): Priority {
    return this.#work.priority
  }

  set priority(priority: Priority) {
    this.#work.priority = priority
  }

  get name(): string {
    return this.#work.name
  }

  get signal(): AbortSignal {
    return this.#work.signal
  }

  cancel(reason?: unknown): void {
    this.#work.cancel(reason)
  }

  boost(priority: Priority): Disposable {
    return this.#work.boost(priority)
  }

  pause(): Disposable {
    return this.#work.pause()
  }

  deliver(job: () => void): void {
    this.#work.deliver(job)
  }

  onPriorityChange(listener: () => void): () => void {
    return this.#work.onPriorityChange(listener)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
    try {
      await this
    } catch (error) {
      if (!this.#work.isOwnCancellation(error)) throw error
    }
  }
}

Object.defineProperty(TaskPromise.prototype, 'constructor', {
  value: Promise,
  writable: true,
  configurable: true,
})
