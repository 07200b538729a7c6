import { AsyncLocalStorage } from 'node:async_hooks'
import { getEventListeners, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Asker,
  type Caller,
  type Priority,
  post,
  type Scope,
  spawn,
  type Task,
} from '../src/default-scheduler.ts'
import { runModule } from './run-module.test-support.ts'

const { gc } = globalThis as unknown as { gc(): void }
const priorities: Priority[] = ['realtime', 'user-blocking', 'user-visible', 'background']

/** Everything that is queued now has run. */
const queueDrained = () => new Promise<void>(resolve => post('background', resolve))

/** A turn ends, and with it whatever followed from it. */
async function everythingDone(): Promise<void> {
  for (let i = 0; i < 5; i++) await queueDrained()
}

function spin(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

/** A task that runs until it is told to end; `ended` says whether it has. */
function held(caller: Caller = 'background') {
  let release = () => {}
  const released = new Promise<void>(resolve => {
    release = resolve
  })
  const task = spawn(caller, scope => scope.run(released))
  return { task, release }
}

const outcome = (promise: Promise<unknown>) =>
  promise.then(
    value => ({ value }),
    error => ({ error }),
  )

describe('a task', () => {
  test('never starts inside spawn, nor in the same tick', async () => {
    let started = false
    const task = spawn('realtime', () => {
      started = true
    })
    expect(started).toBe(false)
    await Promise.resolve()
    expect(started).toBe(false)
    await task
    expect(started).toBe(true)
  })

  test('resolves with what its work returns or resolves with, and rejects with what it throws', async () => {
    const failure = new Error('failed')
    expect(await spawn('background', () => 1)).toBe(1)
    expect(await spawn('background', async () => 2)).toBe(2)
    // biome-ignore lint/suspicious/noThenProperty: somebody else's promise
    const thenable = { then: (resolve: (n: number) => void) => resolve(3) } as PromiseLike<number>
    expect(await spawn('background', () => thenable)).toBe(3)
    expect(await spawn('background', () => {})).toBe(undefined)
    await expect(
      spawn('background', () => {
        throw failure
      }),
    ).rejects.toBe(failure)
    await expect(spawn('background', () => Promise.reject(failure))).rejects.toBe(failure)
    await expect(
      spawn('background', () => {
        throw undefined
      }),
    ).rejects.toBe(undefined)
  })

  test('is a real promise', async () => {
    const task = spawn('background', () => 1)
    expect(task).toBeInstanceOf(Promise)
    expect(task.constructor).toBe(Promise)
    expect(Promise.resolve(task)).toBe(task)
    expect(Object.getPrototypeOf(task.then())).toBe(Promise.prototype)
    expect(await task.finally(() => {})).toBe(1)
    expect(await Promise.all([task, task])).toEqual([1, 1])
  })

  test('is awaited in as many ticks as a plain promise', async () => {
    async function ticksOf(promise: Promise<unknown>): Promise<number> {
      let ticks = 0
      let done = false
      const tick = () => {
        ticks++
        if (!done) queueMicrotask(tick)
      }
      queueMicrotask(tick)
      await promise
      done = true
      return ticks
    }
    const task = spawn('background', () => 1)
    await task
    expect(await ticksOf(task)).toBe(await ticksOf(Promise.resolve(1)))
  })

  test('has a scope that is not thenable', async () => {
    const scope = await spawn('background', scope => scope)
    expect('then' in scope).toBe(false)
    expect(scope.priority).toBe('background')
  })

  test('has the name that it is given, or that of its work', async () => {
    const named = spawn('background', function index(scope) {
      return scope.name
    })
    expect(named.name).toBe('index')
    expect(await named).toBe('index')
    expect(spawn('background', () => {}, { name: 'other' }).name).toBe('other')
    expect(spawn('background', (() => () => {})()).name).toBe('task')
  })

  test('starts no earlier than delayMs from now, at its priority', async () => {
    const log: string[] = []
    const startMs = performance.now()
    const task = spawn(
      'background',
      () => {
        log.push('delayed')
        return performance.now() - startMs
      },
      { delayMs: 60 },
    )
    await spawn('background', () => log.push('at once'))
    spin(65) // its time is up when this turn ends
    post('user-visible', () => log.push('user-visible'))
    expect(await task).toBeGreaterThan(59) // Node's timers count in whole milliseconds
    expect(log).toEqual(['at once', 'user-visible', 'delayed'])
  })

  test('bad arguments throw at once, and nothing starts', async () => {
    let started = 0
    const work = () => started++
    const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
    const value = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    const range = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
    for (const caller of [undefined, null, 5, {}, () => {}, new AbortController().signal]) {
      expect(() => spawn(caller as never, work)).toThrow(type)
    }
    for (const caller of ['urgent', '', { priority: 'urgent' }]) {
      expect(() => spawn(caller as never, work)).toThrow(value)
    }
    for (const notWork of [undefined, null, 'work', {}]) {
      expect(() => spawn('background', notWork as never)).toThrow(type)
    }
    expect(() => spawn('background', work, { signal: {} as AbortSignal })).toThrow(type)
    expect(() => spawn('background', work, { delayMs: '5' as never })).toThrow(type)
    for (const delayMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31]) {
      expect(() => spawn('background', work, { delayMs })).toThrow(range)
    }
    await spawn('background', scope => {
      expect(() => scope.spawn(work, { priority: 'urgent' as Priority })).toThrow(value)
      expect(() => scope.spawn(undefined as never)).toThrow(type)
    })
    const task = spawn('background', () => {})
    expect(() => {
      task.priority = 'urgent' as Priority
    }).toThrow(value)
    expect(() => task.boost('urgent' as Priority)).toThrow(value)
    expect(task.priority).toBe('background')
    await task
    await everythingDone()
    expect(started).toBe(0)
  })

  test('carries the AsyncLocalStorage context of its spawn', async () => {
    const storage = new AsyncLocalStorage<string>()
    const stores = (name: string) =>
      storage.run(name, () =>
        spawn('background', async scope => {
          const seen = [storage.getStore()]
          await scope.yield()
          seen.push(storage.getStore())
          await scope.sleep(1)
          seen.push(storage.getStore())
          await scope.run(Promise.resolve())
          seen.push(storage.getStore())
          seen.push(await scope.spawn(() => storage.getStore()))
          return seen
        }),
      )
    const [first, second] = await Promise.all([stores('first'), stores('second')])
    expect(first).toEqual(Array(5).fill('first'))
    expect(second).toEqual(Array(5).fill('second'))
    expect(storage.getStore()).toBe(undefined)
  })
})

describe('where a continuation goes on', () => {
  /** Queues a job at each priority, then gives way in some way. Returns what ran before it went on. */
  async function ranBefore(priority: Priority, giveWay: (scope: Scope) => Promise<unknown>) {
    const log: string[] = []
    await spawn(priority, async scope => {
      for (const one of priorities) post(one, () => log.push(one))
      await giveWay(scope)
      log.push('went on')
    })
    await queueDrained()
    return log.slice(0, log.indexOf('went on'))
  }

  for (const [i, priority] of priorities.entries()) {
    const asUrgent = priorities.slice(0, i + 1)

    test(`after yield: ${priority} goes on behind what is as urgent, ahead of the rest`, async () => {
      expect(await ranBefore(priority, scope => scope.yield())).toEqual(asUrgent)
    })

    test(`after run: ${priority} goes on behind what is as urgent, ahead of the rest`, async () => {
      expect(await ranBefore(priority, scope => scope.run(Promise.resolve()))).toEqual(asUrgent)
    })

    test(`after a delivery: ${priority} goes on behind what is as urgent, ahead of the rest`, async () => {
      const delivered = (scope: Scope) => new Promise<void>(resolve => scope.deliver(resolve))
      expect(await ranBefore(priority, delivered)).toEqual(asUrgent)
    })
  }

  test('after sleep: behind what is as urgent, however long its time has been up', async () => {
    for (const priority of ['background', 'user-visible'] as const) {
      const before = await ranBefore(priority, scope => {
        const slept = scope.sleep(1)
        spin(5)
        return slept
      })
      expect(before.slice(0, 3)).toEqual(['realtime', 'user-blocking', 'user-visible'])
    }
  })

  test('after await task: at the task’s priority', async () => {
    const log: string[] = []
    const task = spawn('user-visible', () => {
      for (const one of priorities) post(one, () => log.push(one))
    })
    const waiting = (async () => {
      await task
      log.push('went on')
    })()
    await waiting
    expect(log).toEqual(['realtime', 'user-blocking', 'user-visible', 'went on'])
    await queueDrained()
  })

  test('after await of a failed task: at its priority too', async () => {
    const log: string[] = []
    const task = spawn('user-visible', () => {
      for (const one of priorities) post(one, () => log.push(one))
      throw new Error('failed')
    })
    await task.catch(() => log.push('went on'))
    expect(log).toEqual(['realtime', 'user-blocking', 'user-visible', 'went on'])
    await queueDrained()
  })

  test('yield goes on at once while nothing as urgent waits', async () => {
    await everythingDone()
    const log: string[] = []
    await spawn('user-visible', async scope => {
      post('background', () => log.push('background'))
      for (let i = 0; i < 5; i++) await scope.yield()
      log.push('went on')
    })
    expect(log).toEqual(['went on'])
    await queueDrained()
  })

  test('a loop of yields lets the event loop have its turn', async () => {
    let over = false
    setTimeout(() => {
      over = true
    }, 5)
    await spawn('realtime', async scope => {
      while (!over) await scope.yield()
    })
    expect(over).toBe(true)
  })

  test('shouldYield tells what waits', async () => {
    const quiet: boolean[] = []
    for (let i = 0; i < 10; i++) {
      await everythingDone()
      await spawn('user-visible', async scope => {
        post('background', () => {})
        post('user-visible', () => {})
        quiet.push(scope.shouldYield())
        post('user-blocking', () => {})
        expect(scope.shouldYield()).toBe(true) // something more urgent
        await scope.yield()
        spin(2)
        expect(scope.shouldYield()).toBe(true) // the event loop
      })
    }
    expect(quiet).toContain(false) // each of them, unless this thread was off its core
  })

  test('a task that is paused should yield', async () => {
    const task = spawn('realtime', scope => {
      using _pause = task.pause()
      return scope.shouldYield()
    })
    expect(await task).toBe(true)
  })
})

describe('scope.run', () => {
  test('passes on the value and the error, of a promise, a thenable and a plain value', async () => {
    const failure = new Error('failed')
    const thenable = (call: 'resolve' | 'reject' | 'throw'): PromiseLike<unknown> =>
      ({
        // biome-ignore lint/suspicious/noThenProperty: somebody else's promise
        then(resolve: (value: unknown) => void, reject: (reason: unknown) => void) {
          if (call === 'resolve') resolve(2)
          else if (call === 'reject') reject(failure)
          else throw failure
        },
      }) as PromiseLike<unknown>
    await spawn('background', async scope => {
      expect(await scope.run(Promise.resolve(1))).toBe(1)
      expect(await scope.run(thenable('resolve'))).toBe(2)
      expect(await scope.run(3 as never)).toBe(3)
      expect(await scope.run(undefined as never)).toBe(undefined)
      await expect(scope.run(Promise.reject(failure))).rejects.toBe(failure)
      await expect(scope.run(thenable('reject'))).rejects.toBe(failure)
      await expect(scope.run(thenable('throw'))).rejects.toBe(failure)
    })
  })

  test('raises a task to my priority until it is settled', async () => {
    const log: string[] = []
    const low = spawn('background', async scope => {
      log.push(`low starts as ${scope.priority}`)
      await scope.yield()
      log.push('low ends')
    })
    const high = spawn('user-blocking', async scope => {
      post('user-visible', () => log.push('user-visible'))
      await scope.run(low)
      log.push('high goes on')
    })
    await high
    await queueDrained()
    expect(log).toEqual(['low starts as user-blocking', 'low ends', 'high goes on', 'user-visible'])
    expect(low.priority).toBe('background')
  })

  test('the awaited task follows my later changes, up and down, and never falls below its own', async () => {
    const { task: low, release } = held('user-visible')
    const high = spawn('user-blocking', scope => scope.run(low))
    await queueDrained()
    const seen: Priority[] = [low.priority]
    for (const priority of ['realtime', 'user-blocking', 'background'] as const) {
      high.priority = priority
      seen.push(low.priority)
    }
    expect(seen).toEqual(['user-blocking', 'realtime', 'user-blocking', 'user-visible'])
    release()
    await high
    high.priority = 'realtime'
    expect(low.priority).toBe('user-visible')
  })

  test('a raised chain follows to its end', async () => {
    const { task: last, release } = held('background')
    const middle = spawn('background', scope => scope.run(last))
    const first = spawn('background', scope => scope.run(middle))
    await everythingDone()
    first.priority = 'realtime'
    expect([middle.priority, last.priority]).toEqual(['realtime', 'realtime'])
    release()
    await first
    expect([middle.priority, last.priority]).toEqual(['background', 'background'])
  })

  test('a cancelled waiter stops waiting, and no longer raises', async () => {
    const { task: low, release } = held('background')
    const high = spawn('realtime', scope => scope.run(low))
    await queueDrained()
    expect(low.priority).toBe('realtime')
    high.cancel()
    await expect(high).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
    expect(low.priority).toBe('background')
    release()
    await low
  })
})

describe('a priority that is set', () => {
  test('a raised task goes to the tail of its new queue', async () => {
    const log: string[] = []
    const task = spawn('background', () => log.push('task'))
    post('user-visible', () => log.push('before'))
    task.priority = 'user-visible'
    post('user-visible', () => log.push('after'))
    await queueDrained()
    expect(log).toEqual(['before', 'task', 'after'])
    expect(task.priority).toBe('user-visible')
  })

  test('so does a lowered one', async () => {
    const log: string[] = []
    const task = spawn('realtime', () => log.push('task'))
    post('background', () => log.push('before'))
    task.priority = 'background'
    post('background', () => log.push('after'))
    await queueDrained()
    expect(log).toEqual(['before', 'task', 'after'])
  })

  test('to and fro, twice, it has lost its place, and runs once', async () => {
    const log: string[] = []
    const task = spawn('background', () => log.push('task'))
    for (let i = 1; i <= 2; i++) {
      post('background', () => log.push(`background ${i}`))
      post('realtime', () => log.push(`realtime ${i}`))
      task.priority = 'realtime'
      task.priority = 'background'
    }
    post('background', () => log.push('last'))
    await queueDrained()
    expect(log).toEqual(['realtime 1', 'realtime 2', 'background 1', 'background 2', 'task', 'last'])
  })

  test('to and fro in the loop’s own queue, it is behind what was queued meanwhile', async () => {
    const log: string[] = []
    const task = spawn('user-visible', () => log.push('task'))
    task.priority = 'background'
    post('user-visible', () => log.push('meanwhile'))
    task.priority = 'user-visible'
    await queueDrained()
    expect(log).toEqual(['meanwhile', 'task'])
  })

  test('set to what it is, it keeps its place', async () => {
    const log: string[] = []
    const task = spawn('background', () => log.push('task'))
    post('background', () => log.push('after'))
    task.priority = 'background'
    task.boost('background')
    await queueDrained()
    expect(log).toEqual(['task', 'after'])
  })

  test('several deliveries that are queued move together, in their order', async () => {
    const log: string[] = []
    const { task, release } = held('background')
    await queueDrained()
    for (const name of ['a', 'b', 'c']) task.deliver(() => log.push(name))
    post('background', () => log.push('background'))
    post('user-visible', () => log.push('before'))
    task.priority = 'user-visible'
    task.deliver(() => log.push('d'))
    post('user-visible', () => log.push('after'))
    task.priority = 'background'
    task.priority = 'user-visible'
    task.deliver(() => log.push('e'))
    await queueDrained()
    expect(log).toEqual(['before', 'after', 'a', 'b', 'c', 'd', 'e', 'background'])
    release()
    await task
  })

  test('a hundred thousand deliveries to one task take their turns in order, however they are moved', async () => {
    const { task, release } = held('background')
    await queueDrained()
    let next = 0
    let wrong = 0
    for (let i = 0; i < 100_000; i++) {
      task.deliver(() => {
        if (next++ !== i) wrong++
      })
      if (i % 10_000 === 0) task.priority = priorities[(i / 10_000) % 4]!
    }
    task.priority = 'background'
    await queueDrained()
    expect({ next, wrong }).toEqual({ next: 100_000, wrong: 0 })
    release()
    await task
  })

  test('is heard by whoever has asked, and by nobody after the unsubscribing', async () => {
    const { task, release } = held('background')
    const heard: Priority[] = []
    const unsubscribe = task.onPriorityChange(() => heard.push(task.priority))
    task.priority = 'realtime'
    task.priority = 'realtime'
    task.boost('user-blocking')
    task.priority = 'background'
    unsubscribe()
    unsubscribe()
    task.priority = 'realtime'
    expect(heard).toEqual(['realtime', 'user-blocking'])
    release()
    await task
  })

  test('can be set by the work itself', async () => {
    const log: string[] = []
    const task = spawn('background', async scope => {
      scope.priority = 'realtime'
      post('user-blocking', () => log.push('user-blocking'))
      await scope.yield()
      log.push('work')
    })
    await task
    expect(log).toEqual(['work'])
    expect(task.priority).toBe('realtime')
    await queueDrained()
  })
})

describe('boost', () => {
  test('the most urgent of its own and all boosts counts', () => {
    const { task, release } = held('user-visible')
    const lower = task.boost('background')
    expect(task.priority).toBe('user-visible')
    const blocking = task.boost('user-blocking')
    expect(task.priority).toBe('user-blocking')
    const realtime = task.boost('realtime')
    const another = task.boost('realtime')
    expect(task.priority).toBe('realtime')
    realtime[Symbol.dispose]()
    expect(task.priority).toBe('realtime')
    another[Symbol.dispose]()
    expect(task.priority).toBe('user-blocking')
    task.priority = 'background'
    expect(task.priority).toBe('user-blocking')
    blocking[Symbol.dispose]()
    expect(task.priority).toBe('background')
    lower[Symbol.dispose]()
    expect(task.priority).toBe('background')
    release()
    return task
  })

  test('its disposal is idempotent', () => {
    const { task, release } = held('background')
    const first = task.boost('realtime')
    const second = task.boost('realtime')
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    expect(task.priority).toBe('realtime')
    second[Symbol.dispose]()
    second[Symbol.dispose]()
    expect(task.priority).toBe('background')
    release()
    return task
  })

  test('lets it overtake what is queued, until it is disposed of', async () => {
    const log: string[] = []
    const boosted = spawn('background', () => log.push('boosted'))
    const unboosted = spawn('background', () => log.push('unboosted'))
    post('user-visible', () => log.push('user-visible'))
    boosted.boost('user-blocking')
    {
      using _boost = unboosted.boost('realtime')
    }
    await queueDrained()
    expect(log).toEqual(['boosted', 'user-visible', 'unboosted'])
  })

  test('raises the children, but those who have a priority of their own', async () => {
    const children: Task[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const parent = spawn('background', scope => {
      children.push(scope.spawn(child => child.run(promise)))
      children.push(scope.spawn(child => child.run(promise), { priority: 'user-visible' }))
      return promise
    })
    await queueDrained()
    const boost = parent.boost('realtime')
    expect(children.map(child => child.priority)).toEqual(['realtime', 'user-visible'])
    boost[Symbol.dispose]()
    expect(children.map(child => child.priority)).toEqual(['background', 'user-visible'])
    resolve()
    await parent
  })
})

describe('pause', () => {
  test('before its start: it does not start until released', async () => {
    let started = false
    const task = spawn('realtime', () => {
      started = true
    })
    const pause = task.pause()
    await everythingDone()
    expect(started).toBe(false)
    pause[Symbol.dispose]()
    expect(started).toBe(false)
    await task
    expect(started).toBe(true)
  })

  test('while it waits for its turn, it goes on behind what was queued meanwhile', async () => {
    const log: string[] = []
    const task = spawn('background', async scope => {
      log.push('start')
      await scope.run(Promise.resolve())
      log.push('went on')
    })
    await new Promise<void>(resolve => post('background', resolve)) // it has started and is queued again
    const pause = task.pause()
    post('background', () => log.push('meanwhile'))
    await everythingDone()
    expect(log).toEqual(['start', 'meanwhile'])
    pause[Symbol.dispose]()
    await task
    expect(log).toEqual(['start', 'meanwhile', 'went on'])
  })

  test('nested pauses: the last one counts; each is released once', async () => {
    let started = false
    const task = spawn('realtime', () => {
      started = true
    })
    const first = task.pause()
    const second = task.pause()
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    await everythingDone()
    expect(started).toBe(false)
    second[Symbol.dispose]()
    await task
    expect(started).toBe(true)
  })

  test('a pause that ends before the turn comes costs the place, and loses and repeats nothing', async () => {
    const log: string[] = []
    const task = spawn('background', () => log.push('task'))
    post('background', () => log.push('other'))
    for (let i = 0; i < 3; i++) task.pause()[Symbol.dispose]()
    await queueDrained()
    await everythingDone()
    expect(log).toEqual(['other', 'task'])
  })

  test('what is delivered meanwhile is kept, in order', async () => {
    const log: number[] = []
    const { task, release } = held('realtime')
    await queueDrained()
    task.deliver(() => log.push(0))
    const pause = task.pause()
    task.deliver(() => log.push(1))
    task.priority = 'background'
    task.deliver(() => log.push(2))
    await everythingDone()
    expect(log).toEqual([])
    pause[Symbol.dispose]()
    task.deliver(() => log.push(3))
    await everythingDone()
    expect(log).toEqual([0, 1, 2, 3])
    release()
    await task
  })

  test('holds the children and their children, those started meanwhile too', async () => {
    const log: string[] = []
    let scopeOf: Scope | undefined
    const parent = spawn('background', async scope => {
      scopeOf = scope
      scope.spawn(
        async child => {
          await child.spawn(() => log.push('grandchild'), { priority: 'realtime' })
          log.push('child')
        },
        { priority: 'user-visible' },
      )
    })
    await new Promise<void>(resolve => post('background', resolve))
    const before = [...log]
    const pause = parent.pause()
    scopeOf!.spawn(() => log.push('late child'))
    await everythingDone()
    expect(log).toEqual(before)
    pause[Symbol.dispose]()
    await parent
    expect(log.toSorted()).toEqual(['child', 'grandchild', 'late child'])
  })

  test('a child’s own pause outlasts its parent’s', async () => {
    const log: string[] = []
    let child: Task | undefined
    const parent = spawn('background', scope => {
      child = scope.spawn(() => log.push('child'))
      scope.spawn(() => log.push('sibling'))
      pauses.push(child.pause(), parent.pause())
    })
    const pauses: Disposable[] = []
    await everythingDone()
    expect(log).toEqual([])
    pauses[1]![Symbol.dispose]()
    await everythingDone()
    expect(log).toEqual(['sibling'])
    pauses[0]![Symbol.dispose]()
    await parent
    expect(log).toEqual(['sibling', 'child'])
  })

  test('cancel wakes it, and its children', async () => {
    const log: string[] = []
    const parent = spawn('background', async scope => {
      scope.spawn(async child => {
        try {
          await child.sleep(100_000)
        } finally {
          log.push('child woke')
        }
      })
      try {
        await scope.yield()
        await scope.sleep(100_000)
      } finally {
        log.push('parent woke')
      }
    })
    await everythingDone()
    parent.pause()
    parent.pause()
    parent.cancel()
    await expect(parent).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
    expect(log.toSorted()).toEqual(['child woke', 'parent woke'])
  })

  test('one that is paused before its start and cancelled never runs', async () => {
    let started = false
    const task = spawn('background', () => {
      started = true
    })
    task.pause()
    task.cancel('enough')
    await expect(task).rejects.toBe('enough')
    expect(started).toBe(false)
  })
})

describe('a caller', () => {
  /** The web's TaskSignal, as far as a caller needs it. */
  function taskSignal(priority: Priority) {
    const controller = new AbortController()
    const signal = Object.assign(controller.signal, { priority })
    return {
      signal,
      abort: (reason: unknown) => controller.abort(reason),
      move(to: Priority) {
        signal.priority = to
        signal.dispatchEvent(new Event('prioritychange'))
      },
      listeners: () =>
        ['abort', 'prioritychange'].map(type => getEventListeners(signal, type).length).join(' '),
    }
  }

  /** An Asker of somebody else's. */
  class Foreign implements Asker {
    priority: Priority = 'background'
    readonly controller = new AbortController()
    readonly signal = this.controller.signal
    readonly listeners = new Set<() => void>()
    unsubscribed = 0

    onPriorityChange(listener: () => void): () => void {
      this.listeners.add(listener)
      return () => {
        this.unsubscribed++
        this.listeners.delete(listener)
      }
    }

    move(to: Priority) {
      this.priority = to
      for (const listener of this.listeners) listener()
    }
  }

  test('that is a task is followed live, and its cancellation is mine', async () => {
    const { task: caller } = held('background')
    caller.catch(() => {})
    const { task } = held(caller)
    expect(task.priority).toBe('background')
    caller.priority = 'realtime'
    expect(task.priority).toBe('realtime')
    caller.cancel('enough')
    await expect(task).rejects.toBe('enough')
    await expect(caller).rejects.toBe('enough')
  })

  test('that is a scope is followed live, but is not a parent', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    let task: Task | undefined
    const caller = spawn('background', async scope => {
      task = spawn(scope, async other => {
        await other.run(promise)
        throw new Error('not its child')
      })
      task.catch(() => {})
      scope.priority = 'user-visible'
      expect(task.priority).toBe('user-visible')
    })
    await caller // does not wait for the other
    resolve()
    await expect(task).rejects.toThrow('not its child')
  })

  test('that is an asker is followed live, and let go when the task is settled', async () => {
    const asker = new Foreign()
    const { task, release } = held(asker)
    asker.move('user-blocking')
    expect(task.priority).toBe('user-blocking')
    release()
    await task
    expect(asker.listeners.size).toBe(0)
    expect(asker.unsubscribed).toBe(1)
    expect(getEventListeners(asker.signal, 'abort')).toEqual([])
    asker.controller.abort()
    await task
  })

  test('that is an asker cancels with its signal', async () => {
    const asker = new Foreign()
    const { task } = held(asker)
    await queueDrained()
    asker.controller.abort('enough')
    await expect(task).rejects.toBe('enough')
    expect(asker.listeners.size).toBe(0)
  })

  test('that is an asker without anything but a priority will do', async () => {
    expect(await spawn({ priority: 'user-visible' }, scope => scope.priority)).toBe('user-visible')
  })

  test('that is a TaskSignal is followed live, and let go when the task is settled', async () => {
    const caller = taskSignal('background')
    const first = held(caller.signal)
    const second = held(caller.signal)
    caller.move('realtime')
    expect([first.task.priority, second.task.priority]).toEqual(['realtime', 'realtime'])
    first.release()
    await first.task
    caller.move('user-visible')
    expect([first.task.priority, second.task.priority]).toEqual(['realtime', 'user-visible'])
    caller.abort('enough')
    await expect(second.task).rejects.toBe('enough')
    expect(await first.task).toBe(undefined)
    expect(caller.listeners()).toBe('0 0')
  })

  test('that has aborted already: the task never runs', async () => {
    const caller = taskSignal('realtime')
    caller.abort('enough')
    let started = false
    const task = spawn(caller.signal, () => {
      started = true
    })
    await expect(task).rejects.toBe('enough')
    expect(started).toBe(false)
    expect(caller.listeners()).toBe('0 0')
  })

  test('of very many tasks has one listener, and takes no longer with each', async () => {
    const controller = new AbortController()
    const tasks = Array.from({ length: 20_000 }, () =>
      spawn('background', scope => scope.sleep(100_000), { signal: controller.signal }),
    )
    expect(getEventListeners(controller.signal, 'abort').length).toBe(1)
    await everythingDone()
    controller.abort('enough')
    const outcomes = await Promise.all(tasks.map(outcome))
    expect(outcomes.every(one => 'error' in one && one.error === 'enough')).toBe(true)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('that has ended is still a caller', async () => {
    const caller = spawn('user-visible', () => {})
    await caller
    expect(await spawn(caller, scope => scope.priority)).toBe('user-visible')
  })
})

describe('children', () => {
  test('are awaited, whether or not the work awaits them', async () => {
    const log: string[] = []
    const parent = spawn('user-visible', scope => {
      scope.spawn(async child => {
        await child.sleep(5)
        log.push('child')
      })
      scope.spawn(
        async child => {
          child.spawn(() => log.push('grandchild'), { delayMs: 10 })
        },
        { priority: 'background' },
      )
      return 'value'
    })
    expect(await parent).toBe('value')
    expect(log).toEqual(['child', 'grandchild'])
  })

  test('follow their parent’s priority, unless they have their own', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const children: Task[] = []
    const parent = spawn('background', scope => {
      children.push(scope.spawn(child => child.spawn(() => promise)))
      children.push(scope.spawn(() => promise, { priority: 'user-visible' }))
    })
    await everythingDone()
    expect(children.map(child => child.priority)).toEqual(['background', 'user-visible'])
    parent.priority = 'realtime'
    expect(children.map(child => child.priority)).toEqual(['realtime', 'user-visible'])
    children[1]!.priority = 'user-blocking'
    parent.priority = 'background'
    expect(children.map(child => child.priority)).toEqual(['background', 'user-blocking'])
    resolve()
    await parent
  })

  test('that are queued move with their parent', async () => {
    const log: string[] = []
    await spawn('background', scope => {
      scope.spawn(child => child.spawn(() => log.push('grandchild')))
      post('user-visible', () => log.push('user-visible'))
      scope.priority = 'user-blocking'
    })
    await queueDrained()
    expect(log).toEqual(['grandchild', 'user-visible'])
  })

  test('are cancelled with their parent, to any depth', async () => {
    const reasons: unknown[] = []
    const deep = async (scope: Scope, left: number): Promise<void> => {
      if (left > 0) scope.spawn(child => deep(child, left - 1))
      try {
        await scope.sleep(100_000)
      } catch (reason) {
        reasons.push(reason)
        throw reason
      }
    }
    const root = spawn('background', scope => deep(scope, 20))
    for (let i = 0; i < 25; i++) await queueDrained()
    root.cancel('enough')
    await expect(root).rejects.toBe('enough')
    expect(reasons).toEqual(Array(21).fill('enough'))
  })

  test('one that fails cancels its siblings, and reaches the parent, once', async () => {
    const failure = new Error('failed')
    const seen: unknown[] = []
    let sibling: Promise<unknown> | undefined
    const parent = spawn('background', async scope => {
      sibling = outcome(scope.spawn(child => child.sleep(100_000)))
      scope.signal.addEventListener('abort', () => seen.push(scope.signal.reason))
      const failing = scope.spawn(() => {
        throw failure
      })
      try {
        await failing
      } catch (error) {
        seen.push(error)
      }
      return 'caught, but the task has failed'
    })
    await expect(parent).rejects.toBe(failure)
    expect(await sibling).toEqual({ error: failure })
    expect(seen).toEqual([failure, failure])
  })

  test('one that fails interrupts what its parent waits for', async () => {
    const failure = new Error('failed')
    const parent = spawn('background', async scope => {
      scope.spawn(() => Promise.reject(failure))
      await scope.sleep(100_000)
    })
    await expect(parent).rejects.toBe(failure)
  })

  test('the first of several failures is the parent’s', async () => {
    const parent = spawn('background', scope => {
      for (const text of ['second', 'third']) {
        scope.spawn(child =>
          child.sleep(100_000).finally(() => {
            throw new Error(text)
          }),
        )
      }
      scope.spawn(async child => {
        await child.yield()
        throw new Error('first')
      })
    })
    await expect(parent).rejects.toThrow('first')
  })

  test('a failure goes all the way up', async () => {
    const failure = new Error('failed')
    let cousin: Promise<unknown> | undefined
    const root = spawn('background', scope => {
      cousin = outcome(scope.spawn(one => one.spawn(two => two.sleep(100_000))))
      scope.spawn(one => {
        one.spawn(two => {
          two.spawn(() => Promise.reject(failure))
        })
      })
    })
    await expect(root).rejects.toBe(failure)
    expect(await cousin).toEqual({ error: failure })
  })

  test('one that is contained rejects only its own promise', async () => {
    const failure = new Error('failed')
    const log: unknown[] = []
    const parent = spawn('background', async scope => {
      const contained = scope.spawn(
        child => {
          child.spawn(() => Promise.reject(failure)) // what fails below it is its own failure
        },
        { contain: true },
      )
      const failed = outcome(contained)
      scope.spawn(async child => {
        await child.run(failed)
        await child.sleep(5)
        log.push('sibling')
      })
      log.push(await failed)
      return 'value'
    })
    expect(await parent).toBe('value')
    expect(log).toEqual([{ error: failure }, 'sibling'])
  })

  test('one that is contained is awaited and cancelled all the same', async () => {
    const log: string[] = []
    const parent = spawn('background', scope => {
      scope
        .spawn(child => child.sleep(100_000), { contain: true })
        .catch((reason: string) => log.push(`cancelled: ${reason}`))
    })
    await everythingDone()
    parent.cancel('enough')
    await expect(parent).rejects.toBe('enough')
    expect(log).toEqual(['cancelled: enough'])
  })

  test('one that is cancelled does not fail its parent', async () => {
    const log: string[] = []
    const parent = spawn('background', async scope => {
      const child = scope.spawn(child => child.sleep(100_000))
      scope.spawn(async child => {
        await child.sleep(5)
        log.push('sibling')
      })
      child.cancel()
      return 'value'
    })
    expect(await parent).toBe('value')
    expect(log).toEqual(['sibling'])
  })

  test('may be spawned late: by a scope whose work has returned, while another child runs', async () => {
    const log: string[] = []
    let late: Scope | undefined
    const parent = spawn('background', scope => {
      late = scope
      scope.spawn(async child => {
        await child.sleep(5)
        late!.spawn(() => log.push('late'), { delayMs: 5 })
        log.push('first')
      })
    })
    await parent
    expect(log).toEqual(['first', 'late'])
  })

  test('may be spawned between the end of the work and its settling, which comes once', async () => {
    let unsubscribed = 0
    const asker: Asker = { priority: 'background', onPriorityChange: () => () => unsubscribed++ }
    const log: string[] = []
    const parent = spawn(asker, scope => {
      post('realtime', () => {
        scope.spawn(() => log.push('quick'), { priority: 'realtime' })
      })
      return 'value'
    })
    expect(await parent).toBe('value')
    await everythingDone()
    expect(log).toEqual(['quick'])
    expect(unsubscribed).toBe(1)
  })

  test('cannot be spawned when their parent is settled', async () => {
    const scope = await spawn('background', scope => scope)
    expect(() => scope.spawn(() => {})).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_/) }),
    )
  })

  test('of one that is cancelled already never start', async () => {
    let started = false
    const parent = spawn('background', scope => {
      scope.signal.addEventListener('abort', () => {
        const child = scope.spawn(() => {
          started = true
        })
        child.catch(() => {})
      })
      return scope.sleep(100_000)
    })
    await queueDrained()
    parent.cancel()
    await expect(parent).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }))
    expect(started).toBe(false)
  })

  test('a tree of a thousand levels starts, moves, fails and is cancelled', async () => {
    const levels = 1000
    const tree = (end: (scope: Scope) => unknown) => {
      let bottom: Scope | undefined
      const down = (scope: Scope, left: number): unknown => {
        if (left > 0) return void scope.spawn(child => down(child, left - 1))
        bottom = scope
        return end(scope)
      }
      return { root: spawn('background', scope => down(scope, levels)), bottom: () => bottom }
    }
    const value = tree(() => 1)
    await value.root
    const failure = new Error('failed')
    await expect(tree(() => Promise.reject(failure)).root).rejects.toBe(failure)
    const { root, bottom } = tree(scope => scope.sleep(100_000))
    while (bottom() === undefined) await queueDrained()
    root.priority = 'realtime'
    expect(bottom()!.priority).toBe('realtime')
    root.cancel('enough')
    await expect(root).rejects.toBe('enough')
    expect(bottom()!.signal.reason).toBe('enough')
  })

  test('ten thousand of one parent end with it', async () => {
    let ended = 0
    const parent = spawn('background', scope => {
      for (let i = 0; i < 10_000; i++) {
        scope.spawn(async child => {
          await child.yield()
          ended++
        })
      }
    })
    await parent
    expect(ended).toBe(10_000)
  })
})

describe('cancellation', () => {
  const abortError = expect.objectContaining({ name: 'AbortError' })

  test('before its start: the work never runs', async () => {
    let started = false
    const task = spawn('realtime', () => {
      started = true
    })
    task.cancel()
    await expect(task).rejects.toThrow(abortError)
    expect(started).toBe(false)
  })

  test('during its delay: it does not wait for its time', async () => {
    let started = false
    const task = spawn(
      'realtime',
      () => {
        started = true
      },
      { delayMs: 100_000 },
    )
    await everythingDone()
    task.cancel()
    await expect(task).rejects.toThrow(abortError)
    expect(started).toBe(false)
  })

  test('during sleep, yield, run and a child: each rejects with the reason', async () => {
    const waits: ((scope: Scope) => Promise<unknown>)[] = [
      scope => scope.sleep(100_000),
      scope => {
        post('realtime', () => {})
        return scope.yield()
      },
      scope => scope.run(new Promise(() => {})),
      scope => scope.spawn(child => child.sleep(100_000)),
    ]
    for (const wait of waits) {
      const reason = new Error('enough')
      let waited: unknown
      const task = spawn('background', async scope => {
        post('realtime', () => task.cancel(reason))
        await wait(scope).catch(error => {
          waited = error
          throw error
        })
      })
      await expect(task).rejects.toBe(reason)
      expect(waited).toBe(reason)
    }
  })

  test('what begins after it rejects at once', async () => {
    const seen: unknown[] = []
    const task = spawn('background', async scope => {
      task.cancel('enough')
      for (const wait of [
        () => scope.yield(),
        () => scope.sleep(100_000),
        () => scope.run(new Promise(() => {})),
        () => scope.run(Promise.resolve('too late')),
        () => scope.spawn(() => 'never'),
      ]) {
        seen.push(await outcome(wait()))
      }
    })
    await expect(task).rejects.toBe('enough')
    expect(seen).toEqual(Array(5).fill({ error: 'enough' }))
  })

  test('is idempotent: the first reason counts', async () => {
    const task = spawn('background', scope => scope.sleep(100_000))
    task.cancel('first')
    task.cancel('second')
    expect(task.signal.reason).toBe('first')
    await expect(task).rejects.toBe('first')
    task.cancel('third')
    expect(task.signal.reason).toBe('first')
  })

  test('defaults to an AbortError that names the task; any other reason will do', async () => {
    const task = spawn('background', scope => scope.sleep(100_000), { name: 'index' })
    task.cancel()
    const { error } = (await outcome(task)) as { error: DOMException }
    expect(error).toBeInstanceOf(DOMException)
    expect(error.name).toBe('AbortError')
    expect(error.message).toContain('index')
    expect(task.signal.reason).toBe(error)
    for (const reason of [null, 0, 'text']) {
      const other = spawn('background', () => {})
      other.cancel(reason)
      await expect(other).rejects.toBe(reason)
    }
  })

  test('the signal aborts at once, also one that is first looked at later', async () => {
    const task = spawn('background', scope => scope.sleep(100_000))
    const { signal } = task
    expect(signal).toBe(task.signal)
    expect(signal.aborted).toBe(false)
    task.cancel('enough')
    expect([signal.aborted, signal.reason]).toEqual([true, 'enough'])
    await expect(task).rejects.toBe('enough')
    const other = spawn('background', () => {})
    other.cancel('enough')
    expect([other.signal.aborted, other.signal.reason]).toEqual([true, 'enough'])
    await expect(other).rejects.toBe('enough')
  })

  test('scope.signal stops other people’s work', async () => {
    const task = spawn('background', async scope => {
      post('realtime', () => task.cancel())
      await sleep(100_000, undefined, { signal: scope.signal })
    })
    await expect(task).rejects.toThrow(abortError)
  })

  test('options.signal cancels it with its reason, also when it has aborted already', async () => {
    const controller = new AbortController()
    const task = spawn('background', scope => scope.sleep(100_000), { signal: controller.signal })
    await queueDrained()
    controller.abort('enough')
    await expect(task).rejects.toBe('enough')
    await expect(spawn('background', () => {}, { signal: controller.signal })).rejects.toBe('enough')
    const timeout = AbortSignal.timeout(1)
    await expect(
      spawn('background', scope => scope.sleep(100_000), { signal: timeout }),
    ).rejects.toMatchObject({ name: 'TimeoutError' })
  })

  test('options.signal is let go when the task is settled', async () => {
    const { signal } = new AbortController()
    const task = spawn('background', () => {}, { signal })
    expect(getEventListeners(signal, 'abort').length).toBe(1)
    await task
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('a work that ignores it: the task still rejects with the reason, and only when the work has ended', async () => {
    const { promise, resolve } = Promise.withResolvers<string>()
    let ended = false
    const task = spawn('background', async () => {
      await promise
      ended = true
      return 'value'
    })
    await queueDrained()
    task.cancel('enough')
    resolve('')
    await expect(task).rejects.toBe('enough')
    expect(ended).toBe(true)
  })

  test('a work that throws another error after it: that error wins', async () => {
    const failure = new Error('while cleaning up')
    const task = spawn('background', async scope => {
      try {
        await scope.sleep(100_000)
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: what is tested
        throw failure
      }
    })
    await queueDrained()
    task.cancel()
    await expect(task).rejects.toBe(failure)
  })

  test('a child that throws another error after its parent’s cancellation: that error wins', async () => {
    const failure = new Error('while cleaning up')
    const parent = spawn('background', scope => {
      scope.spawn(child =>
        child.sleep(100_000).catch(() => {
          throw failure
        }),
      )
    })
    await everythingDone()
    parent.cancel()
    await expect(parent).rejects.toBe(failure)
  })

  test('after its end it changes nothing', async () => {
    const task = spawn('background', () => 1)
    await task
    task.cancel()
    expect(task.signal.aborted).toBe(false)
    expect(await task).toBe(1)
  })

  test('after the end of its delay or of a wait, before its turn: it counts', async () => {
    let started = false
    const delayed = spawn(
      'background',
      () => {
        started = true
      },
      { delayMs: 1 },
    )
    setTimeout(() => delayed.cancel('enough'), 1)
    spin(5) // both timers are due: the delayed one is queued, then cancelled, before its turn comes
    await expect(delayed).rejects.toBe('enough')
    expect(started).toBe(false)
    const seen: unknown[] = []
    const waiting = spawn('background', async scope => {
      const sleeping = outcome(scope.sleep(1))
      const foreign = outcome(scope.run(sleep(1, 'value')))
      setTimeout(() => waiting.cancel('enough'), 1)
      spin(5)
      seen.push(await sleeping, await foreign)
    })
    await expect(waiting).rejects.toBe('enough')
    expect(seen).toEqual([{ error: 'enough' }, { error: 'enough' }])
  })

  test('from within itself and from a listener of its own signal', async () => {
    const task = spawn('background', async scope => {
      scope.signal.addEventListener('abort', () => task.cancel('again'))
      task.cancel('first')
      await scope.yield()
    })
    await expect(task).rejects.toBe('first')
  })

  test('a listener that throws does not stop it', async () => {
    const { out } = await runModule(`
      process.on('uncaughtException', error => console.log('uncaught', error.message))
      const task = spawn('background', scope => {
        scope.signal.addEventListener('abort', () => { throw new Error('listener') })
        scope.spawn(child => child.sleep(100_000))
        return scope.sleep(100_000)
      })
      post('background', () => post('background', () => post('background', () => task.cancel('enough'))))
      task.catch(reason => console.log(reason))`)
    expect(out.split('\n').toSorted()).toEqual(['', 'enough', 'uncaught listener'])
  })

  test('a failure with nothing to say is a failure all the same', async () => {
    let childReason: unknown = 'not cancelled'
    const task = spawn('background', scope => {
      scope.spawn(child =>
        child.sleep(100_000).catch(reason => {
          childReason = reason
        }),
      )
      return scope.sleep(1).then(() => Promise.reject(undefined))
    })
    expect(await outcome(task)).toEqual({ error: undefined })
    expect(childReason).toBe(undefined)
  })
})

describe('await using', () => {
  test('cancels, waits for the end, and swallows that cancellation', async () => {
    const log: string[] = []
    {
      await using task = spawn('background', async scope => {
        try {
          await scope.sleep(100_000)
        } finally {
          log.push(`ended: ${scope.signal.aborted}`)
        }
      })
      task.catch(() => {})
      await everythingDone()
    }
    expect(log).toEqual(['ended: true'])
  })

  test('of a task that has ended does nothing', async () => {
    await using task = spawn('background', () => 1)
    expect(await task).toBe(1)
  })

  test('throws what the task has failed with', async () => {
    const failure = new Error('failed')
    const using = async (work: (scope: Scope) => unknown) => {
      await using task = spawn('background', work)
      task.catch(() => {}) // it fails before the end of the block, where the disposal hears of it
      await everythingDone()
    }
    await expect(using(() => Promise.reject(failure))).rejects.toBe(failure)
    await expect(
      using(scope =>
        scope.sleep(100_000).catch(() => {
          throw failure
        }),
      ),
    ).rejects.toBe(failure)
  })
})

describe('sleep', () => {
  test('lasts as long as it says, and a bad duration rejects', async () => {
    await spawn('background', async scope => {
      const startMs = performance.now()
      await scope.sleep(20)
      expect(performance.now() - startMs).toBeGreaterThan(19) // Node's timers count in whole milliseconds
      await scope.sleep(0)
      for (const ms of [-1, Number.NaN, 2 ** 31]) {
        await expect(scope.sleep(ms)).rejects.toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
      }
      await expect(scope.sleep('5' as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    })
  })

  test('that is cancelled leaves no timer: the process ends', async () => {
    const { code, out } = await runModule(`
      const asleep = spawn('background', scope => scope.sleep(100_000))
      const delayed = spawn('background', () => {}, { delayMs: 100_000 })
      post('background', () => { asleep.cancel(); delayed.cancel() })
      process.on('exit', () => console.log('end'))`)
    expect({ code, out }).toEqual({ code: 0, out: 'end\n' })
  })

  test('keeps the process alive; a paused task does not', async () => {
    const { code, out } = await runModule(`
      spawn('background', async scope => { await scope.sleep(30); console.log('slept') })
      spawn('background', () => console.log('never')).pause()
      process.on('exit', () => console.log('end'))`)
    expect({ code, out }).toEqual({ code: 0, out: 'slept\nend\n' })
  })
})

describe.each([
  ['with microtasks drained', []],
  ['in batches of immediates', ['--pending-deprecation']],
])('an unhandled rejection, %s', (_how, nodeOptions) => {
  /** What the process calls unhandled: the message and the task's name. */
  async function unhandled(source: string): Promise<string[]> {
    const { code, out, err } = await runModule(
      `process.on('unhandledRejection', error =>
         console.log(error instanceof Error ? error.message + ' in ' + error.task : 'not an error: ' + error))
       process.on('rejectionHandled', () => console.log('handled later'))
       ${source}`,
      nodeOptions,
    )
    expect({ code, err }).toEqual({ code: 0, err: '' })
    return out.split('\n').slice(0, -1)
  }

  test('is a failure that nobody observes: it ends the process, and shows the task’s name', async () => {
    const { code, err } = await runModule(
      `spawn('background', () => { throw new Error('failed') }, { name: 'index the folder' })`,
      nodeOptions,
    )
    expect(code).toBe(1)
    expect(err).toContain('Error: failed')
    expect(err).toContain('index the folder')
  })

  test('comes once for each task, whatever it failed with', async () => {
    const seen = await unhandled(`
      for (const error of [new Error('plain'), Object.freeze(new Error('frozen')), 'text', undefined]) {
        spawn('background', () => Promise.reject(error), { name: 'index' })
      }`)
    expect(seen).toEqual([
      'plain in index',
      'frozen in undefined',
      'not an error: text',
      'not an error: undefined',
    ])
  })

  test('is not a failure that somebody observes', async () => {
    const seen = await unhandled(`
      const fail = () => { throw new Error('failed') }
      spawn('background', fail).catch(() => {})
      try { await spawn('background', fail) } catch {}
      await spawn('background', scope => scope.run(spawn('realtime', fail)).catch(() => {}))
      await Promise.allSettled([spawn('background', fail)])`)
    expect(seen).toEqual([])
  })

  test('is not a cancellation: by cancel, a signal, the caller, the parent or a failing sibling', async () => {
    const seen = await unhandled(`
      const wait = scope => scope.sleep(100_000)
      const controller = new AbortController()
      const caller = spawn('background', wait)
      spawn(caller, wait)
      spawn('background', wait, { signal: controller.signal })
      const parent = spawn('background', scope => {
        scope.spawn(wait)
        scope.spawn(wait, { contain: true })
        return wait(scope)
      })
      spawn('background', wait).cancel()
      spawn('background', wait).cancel(new Error('an error for a reason'))
      const failing = spawn('background', scope => {
        scope.spawn(wait)
        scope.spawn(() => { throw new Error('failed') })
      })
      failing.catch(() => {})
      setTimeout(() => {
        controller.abort()
        caller.cancel()
        parent.cancel()
      }, 20)`)
    expect(seen).toEqual([])
  })

  test('is an error that comes after a cancellation', async () => {
    const seen = await unhandled(`
      const task = spawn('background', () => { throw new Error('failed') }, { name: 'first' })
      post('background', () => task.cancel())
      const other = spawn('background', async scope => {
        post('background', () => other.cancel())
        await scope.sleep(100_000).finally(() => { throw new Error('cleaning') })
      }, { name: 'other' })`)
    expect(seen).toEqual(['failed in first', 'cleaning in other'])
  })

  test('of a child that fails its parent is the parent’s, once', async () => {
    const seen = await unhandled(`
      spawn('background', scope => {
        scope.spawn(async child => {
          child.spawn(() => { throw new Error('failed') }, { name: 'grandchild' })
          await child.sleep(100_000)
        }, { name: 'child' })
      }, { name: 'root' })`)
    expect(seen).toEqual(['failed in root'])
  })

  test('of a contained child is its own', async () => {
    const seen = await unhandled(`
      const value = await spawn('background', scope => {
        scope.spawn(() => { throw new Error('failed') }, { name: 'child', contain: true })
        return 'fine'
      }, { name: 'root' })
      console.log(value)`)
    expect(seen).toEqual(['failed in child', 'fine'])
  })
})

test('a million tasks leave no memory behind', { timeout: 60_000 }, async () => {
  const { signal } = new AbortController()
  const caller = spawn('background', scope => scope.run(new Promise<void>(() => {})), { signal })
  const heapUsed = () => {
    gc()
    return process.memoryUsage().heapUsed
  }
  async function round(count: number) {
    let left = count
    const work = () => {
      left--
    }
    // Some with everything that could hold on to them, most without.
    for (let i = 0; i < count; i++) {
      if (i % 100 !== 0) spawn(priorities[i % 4]!, work)
      else {
        const task = spawn(caller, scope => void scope.spawn(work), { signal, name: `task ${i}` })
        task.boost('realtime')
        task.pause()[Symbol.dispose]()
        task.priority = 'user-visible'
      }
    }
    while (left > 0) await queueDrained()
    await everythingDone()
  }
  await round(50_000)
  const before = heapUsed()
  for (let i = 0; i < 20; i++) await round(50_000)
  expect(heapUsed() - before).toBeLessThan(1_000_000) // one byte a task
  expect(getEventListeners(signal, 'abort').length).toBe(1)
  caller.cancel()
})

test('a settled task is not kept by the scheduler', async () => {
  const spawned = () => new WeakRef(spawn('user-blocking', () => ({ large: new Array(1000) })))
  const refs = Array.from({ length: 10 }, spawned)
  await everythingDone()
  await new Promise(resolve => setTimeout(resolve, 1)) // a WeakRef holds until its turn is over
  gc()
  gc() // the first may have ended a marking under way, which keeps what was alive when it began
  expect(refs.filter(ref => ref.deref() !== undefined)).toEqual([])
})

test('tasks of two threads know nothing of each other', async () => {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     import(workerData).then(async ({ spawn }) => {
       const task = spawn('background', async scope => {
         const child = scope.spawn(child => child.sleep(100_000))
         await scope.yield()
         child.cancel()
         return scope.name
       }, { name: 'in the worker' })
       parentPort.postMessage(await task)
     })`,
    { eval: true, workerData: new URL('../src/default-scheduler.ts', import.meta.url).href },
  )
  const ended = once(worker, 'exit')
  const mine = spawn('background', async scope => {
    await scope.sleep(10)
    return scope.name
  })
  const [theirs] = await once(worker, 'message')
  expect(theirs).toBe('in the worker')
  expect(await mine).toBe('task')
  expect((await ended)[0]).toBe(0)
})

describe('random spawns, moves, boosts, pauses, cancels and failures', () => {
  interface Plan {
    rank: number
    /** Its parent's, if that still runs; negative: a root. */
    parent: number
    own: boolean
    contain: boolean
    steps: ('yield' | 'run')[]
    fails: boolean
  }
  interface Change {
    what: 'move' | 'boost' | 'unboost' | 'pause' | 'release' | 'cancel'
    task: number
    rank: number
    /** Made by whichever task runs next, in the middle of its work; otherwise by a job at this rank. */
    within: boolean
  }
  const plan = fc.record<Plan>({
    rank: fc.nat({ max: 3 }),
    parent: fc.integer({ min: -5, max: 9 }),
    own: fc.boolean(),
    contain: fc.boolean(),
    steps: fc.array(fc.constantFrom('yield', 'run'), { maxLength: 4 }),
    fails: fc.integer({ min: 0, max: 5 }).map(n => n === 0),
  })
  const change = fc.record<Change>({
    what: fc.constantFrom('move', 'boost', 'unboost', 'pause', 'release', 'cancel', 'move', 'boost', 'pause'),
    task: fc.nat({ max: 19 }),
    rank: fc.nat({ max: 3 }),
    within: fc.boolean(),
  })

  /** What is known of a task from outside. */
  class Node {
    readonly plan: Plan
    readonly parent: Node | undefined
    own: number | undefined
    rank: number
    boosts: { rank: number; disposable: Disposable }[] = []
    pauses: Disposable[] = []
    paused = false
    /** It waits for its turn since then; 0 while it does not. */
    since = 0
    task!: Task
    scope: Scope | undefined
    failure: Error | undefined
    settled = 0
    outcome: { value?: unknown; error?: unknown } | undefined

    constructor(plan: Plan, parent: Node | undefined) {
      this.plan = plan
      this.parent = parent
      this.own = parent === undefined || plan.own ? plan.rank : undefined
      this.rank = this.own ?? parent!.rank
      this.paused = parent?.paused ?? false
    }
  }

  class Model {
    readonly nodes: Node[] = []
    readonly wrong: string[] = []
    now = 0
    readonly within: Change[] = []

    plant(plan: Plan): void {
      const parent = plan.parent < 0 ? undefined : this.nodes[plan.parent % Math.max(this.nodes.length, 1)]
      const alive = parent?.scope !== undefined && parent.settled === 0 && parent.outcome === undefined
      const node = new Node(plan, alive ? parent : undefined)
      const id = this.nodes.length
      const work = (scope: Scope) => this.work(node, scope)
      const options = { name: `task ${id}`, contain: plan.contain }
      try {
        node.task =
          node.parent === undefined
            ? spawn(priorities[plan.rank]!, work, options)
            : node.parent.scope!.spawn(
                work,
                node.own === undefined ? options : { ...options, priority: priorities[plan.rank]! },
              )
      } catch {
        return // its parent was settled a moment ago
      }
      this.nodes.push(node)
      node.since = ++this.now
      outcome(node.task).then(result => {
        node.settled++
        node.outcome = result
      })
    }

    async work(node: Node, scope: Scope): Promise<void> {
      node.scope = scope
      this.turn(node)
      for (const step of node.plan.steps) {
        node.since = ++this.now
        try {
          await (step === 'yield' ? scope.yield() : scope.run(Promise.resolve()))
        } catch (error) {
          node.since = 0
          throw error
        }
        this.turn(node)
      }
      if (node.plan.fails) throw (node.failure = new Error(`failure of ${scope.name}`))
    }

    /** Its turn has come: was it to? */
    turn(node: Node): void {
      const first = this.nodes
        .filter(one => one.since > 0 && !one.paused && !one.task.signal.aborted)
        .sort((a, b) => a.rank - b.rank || a.since - b.since)[0]
      if (node.task.signal.aborted) this.wrong.push(`${node.task.name} was cancelled`)
      else if (node.paused) this.wrong.push(`${node.task.name} is paused`)
      else if (first !== node) this.wrong.push(`${node.task.name} ran before ${first?.task.name}`)
      if (node.task.priority !== priorities[node.rank]) {
        this.wrong.push(`${node.task.name} is ${node.task.priority}, not ${priorities[node.rank]}`)
      }
      node.since = 0
      const change = this.within.shift()
      if (change !== undefined) this.apply(change)
    }

    apply({ what, task, rank }: Change): void {
      const node = this.nodes[task % this.nodes.length]
      if (node === undefined) return
      if (what === 'move') {
        node.own = rank
        node.task.priority = priorities[rank]!
      } else if (what === 'boost') node.boosts.push({ rank, disposable: node.task.boost(priorities[rank]!) })
      else if (what === 'unboost') node.boosts.shift()?.disposable[Symbol.dispose]()
      else if (what === 'pause') node.pauses.push(node.task.pause())
      else if (what === 'release') node.pauses.shift()?.[Symbol.dispose]()
      else node.task.cancel()
      this.follow()
    }

    /** Parents come before their children in the list: what moves goes to the tail in that order, as in the tree. */
    follow(): void {
      const visit = (parent: Node | undefined) => {
        for (const node of this.nodes) {
          if (node.parent !== parent) continue
          const rank = Math.min(node.own ?? parent!.rank, ...node.boosts.map(boost => boost.rank))
          const paused = node.pauses.length > 0 || (parent?.paused ?? false)
          if (node.since > 0 && (rank !== node.rank || (node.paused && !paused))) node.since = ++this.now
          node.rank = rank
          node.paused = paused
          visit(node)
        }
      }
      visit(undefined)
    }
  }

  test('keep every promise: order, pauses, and one end for each task', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(plan, { minLength: 1, maxLength: 20 }),
        fc.array(change, { maxLength: 30 }),
        async (plans, changes) => {
          const model = new Model()
          const roots = plans.filter(plan => plan.parent < 0)
          for (const root of roots) model.plant(root)
          const later = plans.filter(plan => plan.parent >= 0)
          model.within.push(...changes.filter(one => one.within))
          for (const one of changes.filter(one => !one.within)) {
            // A turn ends at any rank, then something happens.
            await new Promise<void>(resolve => post(priorities[one.rank]!, resolve))
            const child = later.shift()
            if (child !== undefined) model.plant(child)
            model.apply(one)
          }
          for (const plan of later) model.plant(plan)
          for (const one of model.within.splice(0)) model.apply(one)
          for (const node of model.nodes) {
            for (const pause of node.pauses.splice(0)) pause[Symbol.dispose]()
            model.follow()
          }
          await Promise.allSettled(model.nodes.map(node => node.task))
          await everythingDone()
          expect(model.wrong).toEqual([])
          for (const node of model.nodes) {
            expect(node.settled).toBe(1)
            if (node.failure !== undefined) expect('error' in node.outcome!).toBe(true)
            if (node.failure !== undefined && node.parent !== undefined && !node.plan.contain) {
              expect('error' in node.parent.outcome!).toBe(true)
            }
            const stopped = node.failure !== undefined || node.task.signal.aborted
            expect('error' in node.outcome!).toBe(stopped)
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})
