import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Priority, post, type Scope, spawn, type Task } from '../src/default-scheduler.ts'
import { each, join, race, tryJoin } from '../src/join.ts'

const { gc } = globalThis as unknown as { gc(): void }

const queueDrained = () => new Promise<void>(resolve => post('background', resolve))

/** Some turns end, and with them whatever followed from them. */
async function everythingDone(): Promise<void> {
  for (let i = 0; i < 8; i++) await queueDrained()
}

/** How many turns something takes depends on how fast the machine is: what is expected to happen is waited for. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await queueDrained()
}

/** A task that runs until it is told to end, and takes some turns to end when it is cancelled. */
function held<T>(value: T, priority: Priority = 'background') {
  let release = (_: PromiseLike<never> | undefined) => {}
  const released = new Promise<unknown>(resolve => (release = resolve))
  released.catch(() => {}) // it may be told to fail before it has begun
  const state = { ended: false, cancelled: false }
  const task = spawn(priority, async scope => {
    try {
      await scope.run(released)
      return value
    } catch (error) {
      state.cancelled = scope.signal.aborted
      await everythingDone()
      throw error
    } finally {
      state.ended = true
    }
  })
  const fail = (error: unknown) => release(Promise.reject(error))
  return { task, state, release: () => release(undefined), fail }
}

const outcome = (promise: PromiseLike<unknown>) =>
  promise.then(
    value => ({ value }),
    error => ({ error }),
  )

/** Whether it has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  await everythingDone()
  const pending = {}
  return (await Promise.race([promise, Promise.resolve(pending)]).catch(() => {})) !== pending
}

/** Runs `body`, and returns the unhandled rejections of that time. */
async function unhandledDuring(body: () => unknown): Promise<unknown[]> {
  const reasons: unknown[] = []
  const listeners = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', reason => reasons.push(reason))
  try {
    await body()
    for (let i = 0; i < 4; i++) await everythingDone() // what is held takes its time to end
    await new Promise(resolve => setImmediate(resolve)) // Node tells of them after a tick
  } finally {
    process.removeAllListeners('unhandledRejection')
    for (const listener of listeners) process.on('unhandledRejection', listener)
  }
  return reasons
}

const failure = new Error('failed')
// biome-ignore lint/suspicious/noThenProperty: somebody else's promise
const thenable = { then: (resolve: (value: string) => void) => resolve('thenable') } as PromiseLike<string>
const never = new Promise<never>(() => {})

test('the types are those of Promise.all and Promise.race', () => {
  // Never called: tsc reads it.
  async function _types(numbers: Task<number>, text: Promise<string>, set: Set<Promise<1> | 2>) {
    const tuple: [number, string, boolean] = await join(numbers, text, true as boolean)
    const listed: [number, string] = await join([numbers, text])
    const one: [number] = await join(numbers)
    const none: [] = await join()
    const many: number[] = await join([numbers] as Task<number>[])
    const spread: number[] = await join(...([numbers] as Task<number>[]))
    const iterated: (1 | 2)[] = await join(set)
    // @ts-expect-error the second is a string
    const wrong: [number, number] = await join(numbers, text)
    // @ts-expect-error there is no third
    const { 2: third } = await join(numbers, text)
    const same: Exact<typeof tuple, [number, string, boolean]> = true
    const tried: [number, string] = await tryJoin(numbers, text)
    const triedList: [number, string] = await tryJoin([numbers, text])
    const triedMany: (1 | 2)[] = await tryJoin(set)
    // @ts-expect-error the second is a string
    const triedWrong: [number, number] = await tryJoin(numbers, text)
    const first = await race(numbers, text)
    const union: Exact<typeof first, number | string> = true
    const firstListed = await race([numbers, text])
    const unionListed: Exact<typeof firstListed, number | string> = true
    const firstIterated = await race(set)
    const unionIterated: Exact<typeof firstIterated, 1 | 2> = true
    // @ts-expect-error it may be a string
    const raceWrong: number = await race(numbers, text)

    const sizes = each(
      ['a'],
      'background',
      async (name: string, _scope: Scope, index) => name.length + index,
      {
        onStart: (item, task) => {
          const types: [Exact<typeof item, string>, Exact<typeof task, Task<number>>] = [true, true]
          return types
        },
      },
    )
    const exact: Exact<typeof sizes, Task<number[]>> = true
    const plain: Exact<ReturnType<typeof ofAsync>, Task<boolean[]>> = true
    const ofAsync = (items: AsyncIterable<number>) => each(items, numbers, item => item > 1)
    // @ts-expect-error an item is a string
    each(['a'], 'background', (name: number) => name)
    // @ts-expect-error a caller is needed
    each(['a'], (name: string) => name)
    const used: unknown[] = [listed, one, none, many, spread, iterated, wrong, third, same, tried, triedList]
    used.push(triedMany, triedWrong, union, unionListed, unionIterated, raceWrong, exact, plain)
    return used
  }
})

/** True if they are the same type, and not only assignable. */
type Exact<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : { is: A; not: B }

for (const [name, all] of Object.entries({ join, tryJoin })) {
  describe(name, () => {
    test('resolves with the values of tasks, promises, thenables and plain values, in the order given', async () => {
      const slow = held('slow')
      const joined = all(
        slow.task,
        spawn('realtime', () => 1),
        Promise.resolve(2),
        thenable,
        undefined,
      )
      expect(await isSettled(joined)).toBe(false)
      slow.release()
      expect(await joined).toEqual(['slow', 1, 2, 'thenable', undefined])
    })

    test('takes an iterable alone as the list, but a string as a value', async () => {
      const tasks = [1, 2].map(n => spawn('background', () => n))
      expect(await all(tasks)).toEqual([1, 2])
      expect(await all(new Set(tasks))).toEqual([1, 2])
      expect(await all(tasks.values())).toEqual([1, 2])
      expect(await all('text')).toEqual(['text'])
      expect(await all([1], [2])).toEqual([[1], [2]])
      expect(await all(tasks[0]!)).toEqual([1])
      const both = Object.assign(Promise.resolve('promise'), { *[Symbol.iterator]() {} })
      expect(await all(both, both)).toEqual(['promise', 'promise'])
      expect(await all(both as Promise<string>)).toEqual(['promise'])
    })

    test('of none resolves with none', async () => {
      expect(await all()).toEqual([])
      expect(await all([])).toEqual([])
    })

    test('rejects with what the list throws', async () => {
      const list = {
        *[Symbol.iterator]() {
          yield 1
          throw failure
        },
      }
      expect(await outcome(all(list))).toEqual({ error: failure })
    })

    test('counts a task that somebody cancels as a failure', async () => {
      const { task } = held(1)
      task.cancel(failure)
      expect(await outcome(all(task, 2))).toEqual({ error: failure })
    })

    test('rejects with a failure that has nothing to say', async () => {
      expect(await outcome(all(Promise.reject(undefined), 1))).toEqual({ error: undefined })
    })

    test('takes the same task twice', async () => {
      const { task, release } = held(1)
      release()
      expect(await all(task, task)).toEqual([1, 1])
    })
  })
}

describe('join', () => {
  test('waits for all when one fails, cancels none, and rejects with the first error in time', async () => {
    const [first, second, third] = [held(1), held(2), held(3)]
    const joined = join(first.task, second.task, third.task)
    joined.catch(() => {})
    third.fail(failure)
    expect(await isSettled(joined)).toBe(false)
    first.fail(new Error('later'))
    expect(await isSettled(joined)).toBe(false)
    expect(second.state).toEqual({ ended: false, cancelled: false })
    second.release()
    expect(await outcome(joined)).toEqual({ error: failure })
    expect(second.state).toEqual({ ended: true, cancelled: false })
  })

  test('leaves no unhandled rejection behind but its own', async () => {
    const another = new Error('another')
    const reasons = await unhandledDuring(() => {
      void join(Promise.reject(another), Promise.reject(failure)).catch(() => {})
      void join(
        spawn('background', () => Promise.reject(failure)),
        Promise.reject(another),
      )
    })
    expect(reasons).toEqual([another])
  })

  test('goes on right after the last task, ahead of what is queued behind it', async () => {
    const order: string[] = []
    const joined = join(
      spawn('background', () => order.push('task')),
      spawn('realtime', () => {}),
    ).then(() => order.push('joined'))
    post('background', () => post('background', () => order.push('queued')))
    await joined
    await everythingDone()
    expect(order).toEqual(['task', 'joined', 'queued'])
  })

  test('of a join is a join', async () => {
    const [first, second] = [held(1), held(2)]
    using _boost = join(join(first.task), race(second.task)).boost('realtime')
    expect([first.task.priority, second.task.priority]).toEqual(['realtime', 'realtime'])
    first.release()
    second.release()
  })
})

const severals: ((...tasks: Task<number>[]) => Promise<unknown>)[] = [join, tryJoin, race]
for (const several of severals) {
  test(`scope.run raises the tasks of a ${several.name} to its priority until it settles, and follows it`, async () => {
    const [first, second] = [held(1), held(2)]
    const seen = () => [first.task.priority, second.task.priority]
    const waiting = spawn('user-visible', scope => scope.run(several(first.task, second.task)))
    await until(() => first.task.priority === 'user-visible')
    expect(seen()).toEqual(['user-visible', 'user-visible'])
    waiting.priority = 'realtime'
    expect(seen()).toEqual(['realtime', 'realtime'])
    first.release()
    second.release()
    await waiting
    expect(seen()).toEqual(['background', 'background'])
  })
}

describe('tryJoin', () => {
  test('cancels the others when one fails, and rejects with its error when they have ended', async () => {
    const [first, second, third] = [held(1), held(2), held(3)]
    const joined = tryJoin(first.task, second.task, never, third.task)
    const ends: boolean[] = []
    const told = joined.catch(error => {
      ends.push(first.state.ended, third.state.ended)
      return error
    })
    await everythingDone()
    second.fail(failure)
    expect(await told).toBe(failure)
    expect(ends).toEqual([true, true])
    expect([first.state.cancelled, second.state.cancelled, third.state.cancelled]).toEqual([
      true,
      false,
      true,
    ])
    await expect(first.task).rejects.toMatchObject({ name: 'AbortError' })
  })

  test('cancels at once when one has failed: what is less urgent and has not started never runs', async () => {
    let ran = false
    const joined = tryJoin(
      spawn('user-visible', () => Promise.reject(failure)),
      spawn('background', () => {
        ran = true
      }),
    )
    expect(await outcome(joined)).toEqual({ error: failure })
    await everythingDone()
    expect(ran).toBe(false)
  })

  test('a promise that fails cancels the tasks; a task that has ended keeps its value', async () => {
    const done = spawn('background', () => 1)
    await done
    const { task } = held(2)
    expect(await outcome(tryJoin(done, task, Promise.reject(failure)))).toEqual({ error: failure })
    expect(task.signal.aborted).toBe(true)
    await expect(task).rejects.toMatchObject({ name: 'AbortError' })
    expect(await done).toBe(1)
  })

  test('the others’ rejections are nobody’s: a cancellation, an error after it, a promise’s', async () => {
    const reasons = await unhandledDuring(async () => {
      const stubborn = spawn('background', async scope => {
        await scope.sleep(100_000).catch(() => {})
        throw new Error('while it was cleaning up')
      })
      await everythingDone()
      let rejectLater = (_: unknown) => {}
      const later = new Promise((_, reject) => (rejectLater = reject))
      const joined = tryJoin(stubborn, held(1).task, later, Promise.reject(failure))
      expect(await outcome(joined)).toEqual({ error: failure })
      rejectLater(new Error('later'))
    })
    expect(reasons).toEqual([])
  })

  test('a failure that nobody observes is one unhandled rejection', async () => {
    const reasons = await unhandledDuring(() => {
      void tryJoin(
        held(1).task,
        spawn('background', () => Promise.reject(failure)),
      )
    })
    expect(reasons).toEqual([failure])
  })

  test('catches the failure of a contained child without failing the parent', async () => {
    const parent = spawn('background', async scope => {
      const children = [
        scope.spawn(() => Promise.reject(failure), { contain: true }),
        scope.spawn(child => child.sleep(100_000)),
      ]
      return await scope.run(outcome(tryJoin(children)))
    })
    expect(await parent).toEqual({ error: failure })
  })

  test('cancel wakes one that is paused', async () => {
    const { task } = held(1)
    using _pause = task.pause()
    expect(await outcome(tryJoin(task, Promise.reject(failure)))).toEqual({ error: failure })
  })
})

describe('race', () => {
  test('resolves with the first value when the others, cancelled, have ended', async () => {
    const [first, second] = [held('first'), held('second')]
    const raced = race(first.task, second.task, never)
    const ended = raced.then(() => first.state.ended)
    await everythingDone()
    second.release()
    expect(await raced).toBe('second')
    expect(await ended).toBe(true)
    expect([first.state.cancelled, second.state.cancelled]).toEqual([true, false])
    await expect(first.task).rejects.toMatchObject({ name: 'AbortError' })
    expect(await second.task).toBe('second')
  })

  test('rejects with the first error when the others, cancelled, have ended', async () => {
    const [first, second] = [held(1), held(2)]
    const raced = race([first.task, second.task])
    const ended = raced.catch(() => first.state.ended)
    await everythingDone()
    second.fail(failure)
    expect(await outcome(raced)).toEqual({ error: failure })
    expect(await ended).toBe(true)
  })

  test('of several that have settled takes the first in the list', async () => {
    expect(await race('a', 'b')).toBe('a')
    expect(await race(never, Promise.resolve('b'), Promise.reject(failure))).toBe('b')
    expect(await race(new Set([never, Promise.resolve('c')]))).toBe('c')
    expect(await race('text')).toBe('text')
  })

  test('a plain value wins at once: a task that has not started never runs', async () => {
    let ran = false
    const task = spawn('realtime', () => {
      ran = true
    })
    expect(await race(task, 1)).toBe(1)
    await everythingDone()
    expect(ran).toBe(false)
  })

  test('the same task twice is not cancelled by itself', async () => {
    const { task, release } = held(1)
    release()
    expect(await race(task, task)).toBe(1)
  })

  test('the others’ rejections are nobody’s', async () => {
    const reasons = await unhandledDuring(async () => {
      expect(await race(1, held(2).task, Promise.reject(failure))).toBe(1)
    })
    expect(reasons).toEqual([])
  })

  test('of none is an error', async () => {
    const error = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }
    await expect(race()).rejects.toMatchObject(error)
    await expect(race([])).rejects.toMatchObject(error)
    await expect(race(new Set())).rejects.toMatchObject(error)
  })
})

/** A source that counts how often it has been asked and closed; asynchronous, if wanted, in some turns. */
function counted(length: number, isAsync: boolean, failsAt = Number.POSITIVE_INFINITY) {
  const counts = { asked: 0, closed: 0, ended: 0 }
  const next = () => {
    counts.asked++
    if (counts.asked - 1 === failsAt) {
      counts.ended++
      throw failure
    }
    if (counts.asked <= length) return { done: false as const, value: counts.asked - 1 }
    counts.ended++
    return { done: true as const, value: undefined }
  }
  const close = () => {
    counts.closed++
    return { done: true as const, value: undefined }
  }
  const items: Iterable<number> | AsyncIterable<number> = isAsync
    ? {
        [Symbol.asyncIterator]: () => ({
          next: () => queueDrained().then(next),
          return: async () => close(),
        }),
      }
    : { [Symbol.iterator]: () => ({ next, return: close }) }
  return { items, counts }
}

describe('each', () => {
  test('resolves with the results in the order of the items, in whichever order they end', async () => {
    const turns = [40, 1, 15]
    const ended: number[] = []
    const task = each(turns, 'background', async (n, _scope, index) => {
      for (let i = 0; i < n; i++) await queueDrained()
      ended.push(index)
      return [n, index]
    })
    expect(await task).toEqual([
      [40, 0],
      [1, 1],
      [15, 2],
    ])
    expect(ended).toEqual([1, 2, 0])
  })

  test('takes iterables, async iterables and generators, also empty ones', async () => {
    async function* letters() {
      yield 'a'
      yield 'b'
    }
    const shout = (text: string) => text.toUpperCase()
    expect(await each(new Set(['a', 'b']), 'background', shout)).toEqual(['A', 'B'])
    expect(await each(letters(), 'background', shout)).toEqual(['A', 'B'])
    expect(await each(['a', 'b'].values(), 'background', shout)).toEqual(['A', 'B'])
    expect(await each([], 'background', shout)).toEqual([])
  })

  test('results that are undefined are in their places, without holes', async () => {
    const results = await each([0, 1, 2, 3], 'background', n => (n === 2 ? n : undefined))
    expect(results).toStrictEqual([undefined, undefined, 2, undefined])
    expect(Object.keys(results)).toHaveLength(4)
  })

  test('starts four at once unless told otherwise, and takes the next item only when one has ended', async () => {
    for (const [concurrency, expected] of [
      [undefined, 4],
      [1, 1],
      [2, 2],
      [20, 10],
    ] as const) {
      const { items, counts } = counted(10, false)
      let release = () => {}
      const released = new Promise<void>(resolve => (release = resolve))
      const task = each(items, 'background', (_n, scope) => scope.run(released), {
        ...(concurrency !== undefined && { concurrency }),
      })
      await until(() => counts.asked >= expected)
      await everythingDone()
      expect(Math.min(counts.asked, 10)).toBe(expected)
      release()
      expect(await task).toHaveLength(10)
    }
  })

  test('never starts inside the call', async () => {
    const { items, counts } = counted(1, false)
    const task = each(items, 'realtime', () => {})
    expect(counts.asked).toBe(0)
    await task
  })

  test('tells of each item’s task before it starts, and a boosted one overtakes', async () => {
    const started = new Set<string>()
    const order: string[] = []
    let allTold = () => {}
    const told = new Promise<void>(resolve => (allTold = resolve))
    await each(
      ['a', 'b', 'looked at'],
      'background',
      async (item, scope) => {
        started.add(item)
        await scope.run(told)
        order.push(item)
      },
      {
        onStart: (item, task) => {
          expect(started.has(item)).toBe(false)
          if (item !== 'looked at') return
          task.boost('user-blocking')
          allTold()
        },
      },
    )
    expect(order).toEqual(['looked at', 'a', 'b'])
  })

  test('follows its caller’s priority live, and its own boost, and so do its children', async () => {
    const caller = held(0)
    const children: Task<unknown>[] = []
    const task = each([1, 2], caller.task, (_n, scope) => scope.run(never), {
      onStart: (_n, child) => children.push(child),
    })
    await until(() => children.length === 2)
    const seen = () => [task, ...children].map(one => one.priority)
    expect(seen()).toEqual(['background', 'background', 'background'])
    caller.task.priority = 'user-visible'
    expect(seen()).toEqual(['user-visible', 'user-visible', 'user-visible'])
    const boost = task.boost('realtime')
    expect(seen()).toEqual(['realtime', 'realtime', 'realtime'])
    boost[Symbol.dispose]()
    expect(seen()).toEqual(['user-visible', 'user-visible', 'user-visible'])
    caller.task.cancel(failure)
    expect(await outcome(task)).toEqual({ error: failure })
    for (const child of children) expect(await outcome(child)).toEqual({ error: failure })
  })

  test('paused, it takes no item and starts nothing', async () => {
    const { items, counts } = counted(3, true)
    let started = 0
    const task = each(items, 'background', () => void started++, { concurrency: 1 })
    const pause = task.pause()
    await everythingDone()
    expect([counts.asked, started]).toEqual([0, 0])
    pause[Symbol.dispose]()
    await task
    expect(started).toBe(3)
  })

  test('a task is named after its work, or as told, and a child after its work', async () => {
    const names: string[] = []
    const onStart = (_item: number, task: Task<unknown>) => names.push(task.name)
    const load = () => {}
    const tasks = [
      each([1], 'background', load, { onStart }),
      each([1], 'background', load, { onStart, name: 'loads' }),
      each([1], 'background', () => {}, { onStart }),
    ]
    expect(tasks.map(task => task.name)).toEqual(['load', 'loads', 'each'])
    await join(tasks)
    expect(names.sort()).toEqual(['each', 'load', 'load'])
  })

  test('the first failure cancels the rest, and is told when all have ended', async () => {
    let underWay = 0
    const { items, counts } = counted(10, false)
    const task = each(items, 'background', async (n, scope) => {
      underWay++
      try {
        if (n === 1) throw failure
        await scope.sleep(100_000)
      } finally {
        await everythingDone()
        underWay--
      }
    })
    const left = task.catch(() => underWay)
    expect(await outcome(task)).toEqual({ error: failure })
    expect(await left).toBe(0)
    expect(counts).toMatchObject({ closed: 1, ended: 0 })
  })

  test('what onStart throws cancels the rest at once, also while the source takes its time to close', async () => {
    let cancelled = false
    let closed = () => {}
    const items = {
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: false as const, value: 0 }),
        return: () =>
          new Promise<IteratorResult<number>>(resolve => {
            closed = () => resolve({ done: true, value: undefined })
          }),
      }),
    }
    let told = 0
    const task = each(
      items,
      'background',
      async (_n, scope) => {
        scope.signal.addEventListener('abort', () => (cancelled = true))
        await scope.run(never)
      },
      {
        onStart: () => {
          if (told++ === 1) throw failure
        },
      },
    )
    task.catch(() => {})
    await until(() => cancelled)
    expect(await isSettled(task)).toBe(false)
    closed()
    expect(await outcome(task)).toEqual({ error: failure })
  })

  test('what the source throws cancels the rest, and the source is not closed again', async () => {
    for (const isAsync of [false, true]) {
      const { items, counts } = counted(10, isAsync, 2)
      const reasons: unknown[] = []
      const task = each(items, 'background', (_n, scope) => scope.run(never), {
        onStart: (_n, child) => child.catch(reason => reasons.push(reason.name)),
      })
      expect(await outcome(task)).toEqual({ error: failure })
      expect(counts).toEqual({ asked: 3, closed: 0, ended: 1 })
      expect(reasons).toEqual(['AbortError', 'AbortError'])
    }
  })

  test('one item that is cancelled leaves the others alone, and its result undefined', async () => {
    const task = each([1, 2, 3], 'background', (n, scope) => (n === 2 ? scope.run(never) : n * 10), {
      onStart: (n, child) => {
        if (n === 2) child.cancel()
      },
    })
    expect(await task).toStrictEqual([10, undefined, 30])
  })

  test('a failure that nobody observes is one unhandled rejection; a cancellation is none', async () => {
    const reasons = await unhandledDuring(async () => {
      void each([1, 2, 3], 'background', n => (n === 2 ? Promise.reject(failure) : n))
      const cancelled = each([1], 'background', (_n, scope) => scope.run(never))
      await everythingDone()
      cancelled.cancel()
      each([1], 'background', () => {}).cancel()
    })
    expect(reasons).toEqual([failure])
  })

  test('cancelled before its first turn it closes the source, and never asks it', async () => {
    for (const isAsync of [false, true]) {
      const [before, already] = [counted(1, isAsync), counted(1, isAsync)]
      const task = each(before.items, 'background', () => {})
      task.cancel(failure)
      task.cancel(failure)
      expect(await outcome(task)).toEqual({ error: failure })
      const signal = AbortSignal.abort(failure)
      expect(await outcome(each(already.items, 'background', () => {}, { signal }))).toEqual({
        error: failure,
      })
      await everythingDone()
      for (const { counts } of [before, already]) expect(counts).toEqual({ asked: 0, closed: 1, ended: 0 })
    }
  })

  test('cancelled while the source looks for an item, it does not wait for that', async () => {
    let closed = 0
    const items = {
      [Symbol.asyncIterator]: () => ({
        next: () => never,
        return: () => {
          closed++
          return Promise.reject(new Error('of the source'))
        },
      }),
    }
    const reasons = await unhandledDuring(async () => {
      const task = each(items, 'background', () => {})
      await everythingDone()
      task.cancel(failure)
      expect(await outcome(task)).toEqual({ error: failure })
    })
    expect(closed).toBe(1)
    expect(reasons).toEqual([])

    async function* silent() {
      yield await never // its return() waits behind this
    }
    const task = each(silent(), 'background', () => {})
    await everythingDone()
    task.cancel(failure)
    expect(await outcome(task)).toEqual({ error: failure })
  })

  test('cancelled by the source or by onStart, it takes no further item', async () => {
    let asked = 0
    function* source() {
      for (;;) {
        if (++asked === 2) bySource.cancel()
        yield asked
      }
    }
    const told: number[] = []
    const bySource: Task<unknown> = each(source(), 'background', () => {}, { onStart: n => told.push(n) })
    expect(await outcome(bySource)).toMatchObject({ error: { name: 'AbortError' } })
    expect([asked, told]).toEqual([2, [1]])

    const { items, counts } = counted(10, false)
    const byStart: Task<unknown> = each(items, 'background', () => {}, { onStart: () => byStart.cancel() })
    expect(await outcome(byStart)).toMatchObject({ error: { name: 'AbortError' } })
    expect(counts).toEqual({ asked: 1, closed: 1, ended: 0 })
  })

  test('lets what is more urgent in while it starts very many', async () => {
    let started = 0
    let startedThen = -1
    const task = each(Array(20_000).keys(), 'background', () => {}, {
      concurrency: 20_000,
      onStart: () => {
        if (started++ === 0) post('realtime', () => (startedThen = started))
      },
    })
    await task
    expect(started).toBe(20_000)
    expect(startedThen).toBe(1)
  })

  test('an endless source whose work returns nothing leaves nothing in memory', {
    timeout: 60_000,
  }, async () => {
    function* endless() {
      for (;;) yield 0
    }
    let calls = 0
    const task = each(endless(), 'background', () => void calls++)
    const usedAfter = async (count: number) => {
      while (calls < count) await new Promise(resolve => setTimeout(resolve, 5))
      using _pause = task.pause()
      gc()
      return process.memoryUsage().heapUsed
    }
    const early = await usedAfter(20_000)
    const late = await usedAfter(120_000)
    task.cancel()
    await outcome(task)
    expect((late - early) / 100_000).toBeLessThan(4)
  })

  test('bad arguments throw at once, and the source is not opened', () => {
    let opened = false
    const items = {
      [Symbol.iterator]: () => {
        opened = true
        return [].values()
      },
    }
    const work = () => {}
    const type = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }
    const value = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }
    const range = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }
    const call = each as (...args: unknown[]) => unknown
    const bad: [unknown[], object][] = [
      [[undefined, 'background', work], type],
      [[5, 'background', work], type],
      [['text', 'background', work], type],
      [[{}, 'background', work], type],
      [[items, undefined, work], type],
      [[items, 'urgent', work], value],
      [[items, 'background', undefined], type],
      [[items, 'background', work, { concurrency: '4' }], type],
      [[items, 'background', work, { concurrency: 0 }], range],
      [[items, 'background', work, { concurrency: 1.5 }], range],
      [[items, 'background', work, { concurrency: Number.NaN }], range],
      [[items, 'background', work, { onStart: 1 }], type],
      [[items, 'background', work, { signal: 1 }], type],
      [[items, 'background', work, { delayMs: -1 }], range],
    ]
    for (const [args, error] of bad) expect(() => call(...args)).toThrow(expect.objectContaining(error))
    expect(opened).toBe(false)
  })

  test('what opening the source throws is thrown, and nothing runs', async () => {
    const items = {
      [Symbol.iterator]: (): Iterator<number> => {
        throw failure
      },
    }
    const reasons = await unhandledDuring(() =>
      expect(() => each(items, 'background', () => {})).toThrow(failure),
    )
    expect(reasons).toEqual([])
  })
})

describe('each, whatever happens', () => {
  /** What the work of one item does: some turns, some yields, some turns to clean up. */
  const item = fc.record({ turns: fc.nat(3), yields: fc.nat(2), ends: fc.nat(2) })
  const setting = fc.record({
    plan: fc.array(item, { maxLength: 12 }),
    isAsync: fc.boolean(),
    concurrency: fc.integer({ min: 1, max: 5 }),
    priority: fc.constantFrom<Priority>('realtime', 'user-blocking', 'user-visible', 'background'),
  })

  /** Runs it, and returns what it has seen. `failsAt` is the item that fails, `cancelAt` the event that cancels. */
  async function run(
    { plan, isAsync, concurrency, priority }: typeof setting extends fc.Arbitrary<infer S> ? S : never,
    { failsAt = -1, sourceFailsAt = -1, cancelAt = -1 },
  ) {
    const { items, counts } = counted(plan.length, isAsync, sourceFailsAt)
    const seen = { underWay: 0, most: 0, begun: 0, counts, events: 0, late: 0 }
    let task: Task<number[]> | undefined
    let settled = false
    const event = () => {
      if (settled) seen.late++
      if (seen.events++ === cancelAt) task!.cancel(failure)
    }
    task = each(
      items,
      priority,
      async (n, scope) => {
        seen.begun++
        seen.most = Math.max(seen.most, ++seen.underWay)
        try {
          event()
          const { turns, yields } = plan[n]!
          for (let i = 0; i < turns; i++) await queueDrained()
          for (let i = 0; i < yields; i++) await scope.yield()
          event()
          if (n === failsAt) throw failure
          return n * 2
        } finally {
          for (let i = 0; i < plan[n]!.ends; i++) await queueDrained()
          event()
          seen.underWay--
        }
      },
      { concurrency },
    )
    const settling = task.finally(() => (settled = true))
    if (cancelAt === -2) task.cancel(failure)
    const result = await outcome(settling)
    const underWayThen = seen.underWay
    await everythingDone()
    return { ...seen, result, underWayThen }
  }

  test('never more than so many at once, and the results in order', async () => {
    await fc.assert(
      fc.asyncProperty(setting, async given => {
        const { most, result, counts } = await run(given, {})
        expect(most).toBeLessThanOrEqual(given.concurrency)
        expect(result).toEqual({ value: given.plan.map((_, n) => n * 2) })
        expect(counts).toEqual({ asked: given.plan.length + 1, closed: 0, ended: 1 })
      }),
      { numRuns: 300 },
    )
  })

  test('after a failure of any item everything has ended, and the source is closed once', async () => {
    await fc.assert(
      fc.asyncProperty(setting, fc.nat(11), async (given, at) => {
        fc.pre(at < given.plan.length)
        const { most, result, counts, underWayThen, late } = await run(given, { failsAt: at })
        expect(result).toEqual({ error: failure })
        expect(most).toBeLessThanOrEqual(given.concurrency)
        expect([underWayThen, late, counts.closed + counts.ended >= 1, counts.closed <= 1]).toEqual([
          0,
          0,
          true,
          true,
        ])
      }),
      { numRuns: 300 },
    )
  })

  test('after a failure of the source anywhere everything has ended, and it is not closed', async () => {
    await fc.assert(
      fc.asyncProperty(setting, fc.nat(11), async (given, at) => {
        fc.pre(at <= given.plan.length)
        const { result, counts, underWayThen, late } = await run(given, { sourceFailsAt: at })
        expect(result).toEqual({ error: failure })
        expect([underWayThen, late]).toEqual([0, 0])
        expect(counts).toEqual({ asked: at + 1, closed: 0, ended: 1 })
      }),
      { numRuns: 300 },
    )
  })

  test('cancelled anywhere, everything has ended, and the source is closed exactly once', async () => {
    await fc.assert(
      fc.asyncProperty(setting, fc.integer({ min: -2, max: 36 }), async (given, at) => {
        const { result, counts, underWayThen, late, events } = await run(given, { cancelAt: at })
        const cancelled = at === -2 || (at >= 0 && at < events)
        if (cancelled) expect(result).toEqual({ error: failure })
        else expect(result).toEqual({ value: given.plan.map((_, n) => n * 2) })
        expect([underWayThen, late]).toEqual([0, 0])
        // One that is asked for its next item meanwhile is closed, and may say afterwards that it has ended.
        expect(counts.closed).toBeLessThanOrEqual(1)
        expect(counts.closed + counts.ended).toBeGreaterThanOrEqual(1)
        if (!given.isAsync) expect(counts.closed + counts.ended).toBe(1)
      }),
      { numRuns: 300 },
    )
  })
})
