import { AsyncLocalStorage } from 'node:async_hooks'
import { mock } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { afterEach, expect, test, vi } from 'vitest'
import { createScheduler, every, post, spawn } from '../src/default-scheduler.ts'
import { install } from '../src/testing.ts'
import { scheduler } from '../src/web.ts'

const context = new AsyncLocalStorage<string>()

test('what a request posts, spawns or repeats runs in its context, and nobody else’s', async () => {
  const seen: string[] = []
  const see = (who: string) => seen.push(`${who} ${context.getStore()}`)
  const all = ['a', 'b', 'c'].map(who =>
    context.run(who, async () => {
      await scheduler.postTask(() => see(who))
      await spawn('background', () => see(who))
      await new Promise<void>(resolve => {
        const ticker = every(1, () => {
          see(who)
          ticker.stop()
          resolve()
        })
      })
    }),
  )
  await Promise.all(all)
  expect(seen.filter(one => one[0] !== one.at(-1))).toEqual([])
  expect(seen.length).toBe(9)
  // A posted job has no context, whoever has armed the loop.
  const stores = await new Promise<unknown[]>(resolve => {
    const of: unknown[] = []
    context.run('a', () => post('background', () => of.push(context.getStore())))
    context.run('b', () =>
      post('background', () => {
        of.push(context.getStore())
        resolve(of)
      }),
    )
  })
  expect(stores).toEqual([undefined, undefined])
})

test('a yield in the callback of a channel is not the task’s in which the channel was made', async () => {
  const order: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  await scheduler.postTask(
    () => {
      const { port1, port2 } = new MessageChannel()
      port1.on('message', async () => {
        port1.close()
        scheduler.postTask(() => order.push('background'), { priority: 'background' })
        await scheduler.yield()
        order.push('went on')
        resolve()
      })
      port2.postMessage('')
    },
    { priority: 'background' },
  )
  await promise
  expect(order[0]).toBe('went on')
})

test('twelve tickers of one signal have one listener', () => {
  const warnings: Error[] = []
  const note = (warning: Error) => warnings.push(warning)
  process.on('warning', note)
  const controller = new AbortController()
  const tickers = Array.from({ length: 12 }, () => every(1000, () => {}, { signal: controller.signal }))
  controller.abort()
  return new Promise<void>(resolve => {
    setImmediate(() => {
      process.off('warning', note)
      expect(warnings).toEqual([])
      expect(tickers.length).toBe(12)
      resolve()
    })
  })
})

test('a cancelled task rejects as everything that is aborted does', async () => {
  const task = spawn('background', scope => scope.sleep(1e6))
  task.cancel()
  await expect(task).rejects.toMatchObject({ name: 'AbortError', code: DOMException.ABORT_ERR })
})

afterEach(() => {
  vi.useRealTimers()
  mock.timers.reset()
})

test.each([
  ['node:test', () => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate', 'Date'] })],
  [
    'vitest',
    () =>
      vi.useFakeTimers({
        toFake: ['setTimeout', 'setImmediate', 'queueMicrotask', 'performance', 'Date'],
      }),
  ],
])('the fake timers of %s hold up no task, neither then nor afterwards', async (_, fake) => {
  fake()
  expect(await spawn('background', () => 'under them')).toBe('under them')
  const ticked = new Promise<void>(resolve => {
    const ticker = every(5, () => {
      ticker.stop()
      resolve()
    })
  })
  await ticked
  const over = spawn('background', async scope => {
    await scope.sleep(20)
    return 'after them'
  })
  vi.useRealTimers()
  mock.timers.reset()
  expect(await over).toBe('after them')
})

test('one long job does not hold up those that follow, and repeated ones are learned', () => {
  const nowMs = 0
  const turns: (() => void)[] = []
  const own = createScheduler({
    clock: {
      now: () => nowMs,
      setTimeout: callback => {
        turns.push(callback)
        return { hasRef: () => true, ref() {}, unref() {}, [Symbol.dispose]() {} }
      },
    },
  })
  own.every(16, () => {})
  const cost = own.loop.costs.of('job')
  for (let i = 0; i < 20; i++) cost.learn(0.05)
  cost.learn(200)
  expect(cost.expectedMs).toBeLessThan(0.1)
  for (let i = 0; i < 4; i++) cost.learn(5)
  expect(cost.expectedMs).toBeGreaterThan(2)
  own.dispose()
})

test('a test scheduler that was left installed is named, and can be taken over', () => {
  const left = install()
  try {
    expect(() => install()).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_STATE',
        cause: expect.objectContaining({ stack: expect.stringContaining('contexts.test') }),
      }),
    )
    const next = install({ takeOver: true })
    left.dispose() // too late, and no harm to the next
    expect(next.now()).toBe(0)
    next.dispose()
    install().dispose()
  } finally {
    left.dispose()
  }
})
