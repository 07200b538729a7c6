import { addAbortListener } from 'node:events'
import type { Caller, Priority } from '@kiruna/priority'
import { checkInteger } from '@kiruna/priority/arguments'
import { invalidType, invalidValue } from '@kiruna/priority/error'
import { spawn } from './default-scheduler.ts'
import type { Scope, SpawnOptions, Task } from './task.ts'
import { isRaisable, TaskPromise } from './task-promise.ts'

/** The results of a list of awaitables, as for Promise.all. */
export type Results<T extends readonly unknown[]> = { -readonly [Place in keyof T]: Awaited<T[Place]> }

/** A promise of several awaitables, which can raise those that are tasks. `scope.run` does so. */
export interface Joined<T> extends Promise<T> {
  /** Until disposed of, each task among them is at least as urgent as `priority`. */
  boost(priority: Priority): Disposable
}

/**
 * Waits for all of the tasks, promises and plain values, and resolves with their values in the order given. A single
 * argument that is an iterable is the list. `join` never cancels: if one fails, it still waits for the others, then
 * rejects.
 *
 * It rejects with the error that came first, itself, like Promise.all and like a task with several failing children: a
 * `catch` that looks at `error.code` finds the same if a second one fails too. Promise.allSettled gives all errors.
 *
 * Code after `await join(…)` runs right after the last of them, at the priority of that one. `await scope.run(join(…))`
 * continues at the scope's priority, and raises the tasks to it meanwhile.
 */
export function join<T extends readonly unknown[] | []>(awaitables: T): Joined<Results<T>>
export function join<T>(awaitables: Iterable<T | PromiseLike<T>>): Joined<Awaited<T>[]>
export function join<T extends readonly unknown[]>(...awaitables: T): Joined<Results<T>>
export function join(...given: unknown[]): Joined<unknown[]> {
  return raisable(given, async all => {
    let failure: { error: unknown } | undefined
    const values = await Promise.all(
      all.map(async one => {
        try {
          return await one
        } catch (error) {
          failure ??= { error }
        }
      }),
    )
    if (failure !== undefined) throw failure.error
    return values
  })
}

/**
 * Waits for all of them, as `join` does, until one fails. Then it cancels the other tasks, waits until these have
 * ended, and rejects with that first error: none of the tasks goes on after that. A promise that is not a task cannot
 * be cancelled, and is not waited for. Later rejections are dropped, and are not unhandled rejections.
 *
 * A child that fails cancels its siblings and its parent by itself: spawn it with `contain` if you want to catch it
 * here.
 */
export function tryJoin<T extends readonly unknown[] | []>(awaitables: T): Joined<Results<T>>
export function tryJoin<T>(awaitables: Iterable<T | PromiseLike<T>>): Joined<Awaited<T>[]>
export function tryJoin<T extends readonly unknown[]>(...awaitables: T): Joined<Results<T>>
export function tryJoin(...given: unknown[]): Joined<unknown[]> {
  return raisable(given, async all => {
    try {
      return await Promise.all(all)
    } catch (error) {
      await cancelTasks(all)
      throw error
    }
  })
}

/**
 * Settles like the first of them, after it has cancelled the other tasks and these have ended. A promise that is not a
 * task cannot be cancelled, and is not waited for. Later rejections are dropped, and are not unhandled rejections.
 * @throws TypeError ERR_INVALID_ARG_VALUE: none is given; Promise.race would never settle
 */
export function race<T extends readonly unknown[] | []>(awaitables: T): Joined<Awaited<T[number]>>
export function race<T>(awaitables: Iterable<T | PromiseLike<T>>): Joined<Awaited<T>>
export function race<T extends readonly unknown[]>(...awaitables: T): Joined<Awaited<T[number]>>
export function race(...given: unknown[]): Joined<unknown> {
  return raisable(given, async all => {
    if (all.length === 0) throw invalidValue('awaitables', 'must have at least one', all)
    try {
      return await Promise.race(all)
    } finally {
      await cancelTasks(all)
    }
  })
}

/** A native promise with one more method: `await` takes it without another promise, as it does a task. */
function raisable<T>(given: unknown[], wait: (all: unknown[]) => Promise<T>): Joined<T> {
  let all: unknown[] = []
  const waiting = (async () => wait((all = listOf(given))))()
  const boost = (priority: Priority): Disposable => {
    const boosts = all.filter(isRaisable).map(one => one.boost(priority))
    return {
      [Symbol.dispose]() {
        for (const boost of boosts) boost[Symbol.dispose]()
      },
    }
  }
  return Object.assign(waiting, { boost })
}

/** A single iterable is the list; a string is not, and neither is a promise that is iterable. */
function listOf(given: unknown[]): unknown[] {
  const only = given[0]
  if (given.length !== 1 || typeof only !== 'object' || only === null) return given
  return Symbol.iterator in only && !('then' in only) ? [...(only as Iterable<unknown>)] : given
}

/** Cancels the tasks, and waits until all have settled. */
async function cancelTasks(all: unknown[]): Promise<void> {
  const tasks = all.filter(one => one instanceof TaskPromise)
  for (const task of tasks) task.cancel()
  await Promise.allSettled(tasks)
}

export interface EachOptions<T, R> extends SpawnOptions {
  /**
   * How many items are worked on at once; 4 by default, as many operations as the lane admits beside urgent ones. It
   * also bounds the memory that the work holds. Use more for the network.
   */
  concurrency?: number
  /**
   * Called with each item's task when it is spawned, before it starts, for example to boost the one that the user looks
   * at. If you cancel it, the others do not fail: its result is undefined. An error thrown here is a failure of `each`.
   */
  onStart?: (item: T, task: Task<R>) => void
}

/**
 * Calls `work` for each item, for a few at once, and resolves with the results, in the order of the items. Each item
 * has its own task, a child of the returned one: if you boost, pause or cancel that, all of them follow. It follows the
 * caller's priority, and is cancelled with the caller. The children have the name of `work`.
 *
 * The next item is taken only when there is room for it: the source may be endless, and a `work` that returns nothing
 * keeps no memory.
 *
 * The first failure, of a work, the source or `onStart`, cancels the rest; the task rejects with that error when all
 * have ended. After a failure or a cancellation the source is closed: its `return()` is called once, as by `for await`,
 * and awaited, unless the source is still fetching its next item.
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; RangeError ERR_OUT_OF_RANGE
 */
export function each<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  caller: Caller,
  work: (item: T, scope: Scope, index: number) => R | PromiseLike<R>,
  options: EachOptions<NoInfer<T>, NoInfer<R>> = {},
): Task<R[]> {
  const { concurrency = 4, onStart, ...spawnOptions } = options
  if (typeof work !== 'function') throw invalidType('work', 'a function', work)
  checkInteger(concurrency, 'options.concurrency', 1)
  if (onStart !== undefined && typeof onStart !== 'function')
    throw invalidType('options.onStart', 'a function', onStart)
  checkIterable(items)
  const name = work.name || 'each'

  async function workOnAll(scope: Scope): Promise<R[]> {
    begun = true
    const results: R[] = []
    const running = new Set<Task<R>>()
    let oneHasEnded = () => {}
    const untilOneEnds = () => scope.run(new Promise<void>(resolve => (oneHasEnded = resolve)))
    let index = 0
    try {
      for (; ; index++) {
        while (running.size >= concurrency) await untilOneEnds()
        // With a high concurrency this loop is long, and must not hold up what is more urgent.
        if (scope.shouldYield()) await scope.yield()
        scope.signal.throwIfAborted() // by `onStart`
        const step = await (source.isAsync ? scope.run(source.next()) : source.next())
        scope.signal.throwIfAborted() // by the source
        if (step.done) break
        start(step.value, index)
      }
      while (running.size > 0) await untilOneEnds()
    } catch (error) {
      for (const child of running) child.cancel() // first, since closing the source may take long
      await source.close()
      throw error
    }
    results.length = index
    return Array.from(results) // without holes, which map and forEach skip

    function start(item: T, index: number): void {
      // Not contained: its failure stops this task and its siblings, and its own cancellation does not.
      const child = scope.spawn(childScope => work(item, childScope, index), { name })
      running.add(child)
      const ended = () => {
        running.delete(child)
        oneHasEnded()
      }
      child.then(result => {
        // An undefined result is not stored: an endless source must not fill the memory.
        if (result !== undefined) results[index] = result
        ended()
      }, ended)
      onStart?.(item, child)
    }
  }

  let begun = false
  const task = spawn(caller, workOnAll, { ...spawnOptions, name: options.name ?? name })
  let source: Source<T>
  try {
    source = new Source(items)
  } catch (error) {
    task.cancel()
    throw error
  }
  // A task that is cancelled before its first turn never runs: the source has to be closed here.
  const closeUnbegun = () => {
    if (!begun) void source.close()
  }
  if (task.signal.aborted) closeUnbegun()
  else addAbortListener(task.signal, closeUnbegun)
  return task
}

/** The source of the items. Its iterator is closed only if it has not ended by itself. */
class Source<T> {
  readonly isAsync: boolean
  readonly #iterator: Iterator<T> | AsyncIterator<T>
  #isPending = false
  #hasEnded = false

  constructor(items: Iterable<T> | AsyncIterable<T>) {
    this.isAsync = Symbol.asyncIterator in items
    this.#iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  }

  async next(): Promise<IteratorResult<T>> {
    this.#isPending = true
    try {
      const step = await this.#iterator.next()
      if (step.done) this.#hasEnded = true
      return step
    } catch (error) {
      this.#hasEnded = true
      throw error
    } finally {
      this.#isPending = false
    }
  }

  /** Never rejects: the error that led to closing counts, as in `for await`. */
  async close(): Promise<void> {
    if (this.#hasEnded) return
    try {
      const closed = Promise.resolve(this.#iterator.return?.())
      // A generator closes only when it has its next item, perhaps never.
      if (this.#isPending) closed.catch(() => {})
      else await closed
    } catch {}
  }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
function checkIterable(items: unknown): void {
  const isObject = (typeof items === 'object' && items !== null) || typeof items === 'function'
  // A string is iterable too, letter by letter, but nobody means that.
  if (!isObject || !(Symbol.asyncIterator in items || Symbol.iterator in items))
    throw invalidType('items', 'an iterable or an async iterable', items)
}
