import type { Caller, Priority } from '@kiruna/priority'
import { checkInteger } from '@kiruna/priority/arguments'
import { invalidType, invalidValue } from '@kiruna/priority/error'
import { spawn } from './default-scheduler.ts'
import type { Scope, SpawnOptions, Task } from './task.ts'
import { isRaisable, TaskPromise } from './task-promise.ts'

/** What a list of awaitables resolves with, place by place: as for Promise.all. */
export type Results<T extends readonly unknown[]> = { -readonly [Place in keyof T]: Awaited<T[Place]> }

/** The promise of several, which can raise those of them that are tasks. `scope.run` does. */
export interface Joined<T> extends Promise<T> {
  /** Until disposed of, each of them that is a task is at least as urgent as `priority`. */
  boost(priority: Priority): Disposable
}

/**
 * Waits for all of them, tasks, promises and plain values, and resolves with their values in the order given. An
 * iterable alone is the list. It never cancels: if one fails, it waits for the others all the same, and then rejects.
 *
 * It rejects with the first error, in time, and with that error itself, as Promise.all does and as a task with several
 * failing children does: a `catch` that looks at `error.code` must not find something else on the day that a second one
 * fails too. Promise.allSettled gives all of them.
 *
 * What follows `await join(…)` runs right after the last of them, at that one's priority. `await scope.run(join(…))` goes
 * on at the scope's, and raises the tasks to it meanwhile.
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
 * Waits for all of them, as `join` does, until one fails: then it cancels the others that are tasks, waits until these
 * have come to an end, and rejects with that first error: nothing of them runs on after it. A promise that is not a task
 * cannot be cancelled, and is not waited for. What those others reject with is dropped, and is not an
 * unhandled rejection.
 *
 * A child that fails cancels its siblings and its parent by itself: spawn it with `contain` if you want to catch it here.
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
 * Settles as the first of them does, once the others that are tasks, which it cancels, have come to an end. A promise
 * that is not a task cannot be cancelled, and is not waited for. What those others reject with is dropped, and is
 * not an unhandled rejection.
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

/** A native promise with a method of its own: `await` takes it as it is, like a task. */
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

/** A single iterable is the list; a string is not, nor is a promise that is iterable too. */
function listOf(given: unknown[]): unknown[] {
  const only = given[0]
  if (given.length !== 1 || typeof only !== 'object' || only === null) return given
  return Symbol.iterator in only && !('then' in only) ? [...(only as Iterable<unknown>)] : given
}

/** Cancels those that are tasks and have not settled, and waits until they have. */
async function cancelTasks(all: unknown[]): Promise<void> {
  const tasks = all.filter(one => one instanceof TaskPromise)
  for (const task of tasks) task.cancel()
  await Promise.allSettled(tasks)
}

export interface EachOptions<T, R> extends SpawnOptions {
  /**
   * How many items are worked on at once; 4: as many operations as the lane admits while something more urgent is about,
   * and a bound for what the work holds in memory. For the network, more.
   */
  concurrency?: number
  /**
   * Called with each item's task when it is spawned, before it starts: boost the one that the user is looking at. One
   * that you cancel does not fail the others: its place in the results is undefined. What this throws is a failure.
   */
  onStart?: (item: T, task: Task<R>) => void
}

/**
 * Calls `work` for each item, for a few at once, and resolves with the results, in the order of the items. Each item has
 * a task of its own, a child of the one returned: boost, pause or cancel that one, and all of them follow. It follows the
 * caller's priority live, and is cancelled with it. The children carry the name of `work`.
 *
 * The next item is taken only when there is room for it: an endless source will do, and a `work` that returns nothing
 * leaves nothing behind in memory.
 *
 * The first failure, of a work, the source or `onStart`, cancels the rest; the task rejects with that error when all
 * have come to an end. Whoever leaves early, by a failure or by cancelling it, closes the source: its `return()` is
 * called once, as `for await` would, and waited for unless it is still looking for its next item.
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
        // With a high concurrency this loop is long: it must not hold up what is more urgent either.
        if (scope.shouldYield()) await scope.yield()
        scope.signal.throwIfAborted() // by `onStart`
        const step = await (source.isAsync ? scope.run(source.next()) : source.next())
        scope.signal.throwIfAborted() // by the source
        if (step.done) break
        start(step.value, index)
      }
      while (running.size > 0) await untilOneEnds()
    } catch (error) {
      for (const child of running) child.cancel() // before the source is closed, which may take long
      await source.close()
      throw error
    }
    results.length = index
    return Array.from(results) // without holes: map and forEach pass over them

    function start(item: T, index: number): void {
      // Not contained: its failure stops this task and its siblings, and its own cancellation does not.
      const child = scope.spawn(childScope => work(item, childScope, index), { name })
      running.add(child)
      const ended = () => {
        running.delete(child)
        oneHasEnded()
      }
      child.then(result => {
        // An undefined result takes no place: an endless source must not fill the memory with nothing.
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
  else task.signal.addEventListener('abort', closeUnbegun, { once: true })
  return task
}

/** The items, one after another. Its iterator is closed only if it has not ended by itself. */
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

  /** Never fails: the reason for closing counts, as in `for await`. */
  async close(): Promise<void> {
    if (this.#hasEnded) return
    try {
      const closed = Promise.resolve(this.#iterator.return?.())
      // A generator closes only when it has its next item: that may be never.
      if (this.#isPending) closed.catch(() => {})
      else await closed
    } catch {}
  }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
function checkIterable(items: unknown): void {
  const isObject = (typeof items === 'object' && items !== null) || typeof items === 'function'
  // A string is iterable too, letter by letter: nobody wants that.
  if (!isObject || !(Symbol.asyncIterator in items || Symbol.iterator in items))
    throw invalidType('items', 'an iterable or an async iterable', items)
}
