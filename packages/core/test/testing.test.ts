import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  createScheduler,
  defaultScheduler,
  every,
  post,
  type Scope,
  spawn,
  tasks,
} from '../src/default-scheduler.ts'
import { seek } from '../src/io.ts'
import { awaitWithin, type InstallOptions, install, pollOnce } from '../src/testing.ts'
import { scheduler } from '../src/web.ts'

/** Installed until the end of the test. */
function installed(options?: InstallOptions) {
  const test = install(options)
  onTestFinished(() => test.dispose())
  return test
}

describe('a test scheduler', () => {
  test('an hour passes at once, and what it makes due runs at its time', async () => {
    const test = installed()
    const wokenMs: number[] = []
    spawn('background', async scope => {
      for (const minutes of [1, 19, 40]) {
        await scope.sleep(minutes * 60_000)
        wokenMs.push(test.now())
      }
    })
    await test.advance(60 * 60_000 - 1)
    expect(wokenMs).toEqual([60_000, 20 * 60_000])
    await test.advance(1)
    expect(wokenMs).toEqual([60_000, 20 * 60_000, 60 * 60_000])
    expect(test.now()).toBe(60 * 60_000)
    expect(tasks()).toEqual([])
  })

  test('time stands still until it is advanced, however long the test takes', async () => {
    const test = installed()
    let isAwake = false
    spawn('realtime', async scope => {
      await scope.sleep(1)
      isAwake = true
    })
    await test.advance(0)
    for (const end = performance.now() + 20; performance.now() < end; ) await turn()
    expect(isAwake).toBe(false)
    expect(test.now()).toBe(0)
    await test.advance(1)
    expect(isAwake).toBe(true)
  })

  test('ticks come on their grid, none late, in the order of their deadlines', async () => {
    const test = installed()
    const ticks: string[] = []
    every(10, lateMs => ticks.push(`a ${test.now()} ${lateMs}`))
    every(16, lateMs => ticks.push(`b ${test.now()} ${lateMs}`))
    await test.advance(35)
    expect(ticks).toEqual(['a 10 0', 'b 16 0', 'a 20 0', 'a 30 0', 'b 32 0'])
  })

  test('a tick that is near makes nothing spin', async () => {
    const test = installed()
    every(10, () => {})
    await test.advance(9.5)
    await turn()
    expect(process.getActiveResourcesInfo()).not.toContain('Immediate')
  })

  test('post, a delay, the web scheduler and what awaits a file at a bare priority are on it', async () => {
    const test = installed()
    const folder = await mkdtemp(join(tmpdir(), 'kiruna-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'file'), 'content')
    const order: string[] = []
    post('background', () => order.push('posted'))
    spawn('background', () => order.push(`delayed until ${test.now()}`), { delayMs: 5 })
    void scheduler.postTask(() => order.push(`postTask at ${test.now()}`), { delay: 7 })
    await test.advance(10)
    expect(order).toEqual(['posted', 'delayed until 5', 'postTask at 7'])

    // Nothing but the disk's time passes: the sleep begins when the file has been read.
    spawn('background', async scope => {
      const bytes = await seek.readAll(join(folder, 'file'), 'background')
      await scope.sleep(10)
      order.push(`${bytes} at ${test.now()}`)
    })
    await test.advance(10)
    expect(order.at(-1)).toBe('content at 20')
  })

  test('schedulers of your own move with its clock', async () => {
    const test = installed()
    const order: string[] = []
    const own = createScheduler({ clock: test.clock, guard: false })
    own.every(4, () => order.push(`own ${test.now()}`))
    every(6, () => order.push(`default ${test.now()}`))
    await test.advance(11)
    expect(order).toEqual(['own 4', 'default 6', 'own 8'])
    own.dispose()
  })

  test('time that is spent in a job makes the tick late, unless the guard knows it', async () => {
    async function run(guard: boolean) {
      using test = install({ guard })
      const late: number[] = []
      every(10, lateMs => late.push(lateMs))
      spawn('background', async scope => {
        for (let i = 0; i < 20; i++) {
          test.spend(4)
          await scope.yield()
        }
      })
      await test.advance(200)
      expect(late.length).toBeGreaterThan(8)
      return late.slice(1)
    }
    expect(Math.max(...(await run(false)))).toBe(2)
    expect(Math.max(...(await run(true)))).toBe(0)
  })

  test('a task that only yields does not hold up the time', async () => {
    const test = installed()
    let yields = 0
    const task = spawn('background', async scope => {
      for (;;) {
        yields++
        await scope.yield()
      }
    })
    let ticks = 0
    every(10, () => ticks++)
    await test.advance(20)
    expect(ticks).toBe(2)
    expect(yields).toBeGreaterThan(1000)
    task.cancel()
    await test.advance(0)
    expect(await pollOnce(task)).toMatchObject({ status: 'rejected', reason: { name: 'AbortError' } })
  })

  test('all that is ready runs, a hundred thousand jobs and turn after turn of the event loop too', async () => {
    const test = installed()
    let ran = 0
    for (let i = 0; i < 50_000; i++) post('background', () => ran++)
    spawn('background', async scope => {
      for (let i = 0; i < 1000; i++) {
        if (i % 100 === 0) await scope.run(turn())
        await scope.yield()
        ran++
      }
    })
    await test.advance(0)
    expect(ran).toBe(51_000)
  })

  test('disposed of, its tasks are cancelled and the usual scheduler is back', async () => {
    const usual = defaultScheduler()
    const test = install()
    const clean: string[] = []
    const task = spawn('background', async scope => {
      try {
        await scope.sleep(1000)
      } finally {
        clean.push('up')
      }
    })
    await test.advance(1)
    test.dispose()
    test.dispose()
    expect(defaultScheduler()).toBe(usual)
    await expect(task).rejects.toThrow(/cancelled/)
    expect(clean).toEqual(['up'])
    await spawn('realtime', scope => scope.sleep(1)) // in real time
    installed()
  })

  test('one at a time', () => {
    installed()
    expect(() => install()).toThrow(expect.objectContaining({ code: 'ERR_INVALID_STATE' }))
  })

  test('bad arguments are refused', async () => {
    expect(() => install({ seed: 1.5 })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
    expect(() => install({ seed: '1' as never })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    )
    expect(() => install({ budgetMs: 0 })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
    const test = installed() // those above have installed nothing
    await expect(test.advance(-1)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    await expect(test.advance('1' as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    expect(() => test.spend(Number.NaN)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
    const advancing = test.advance(1)
    await expect(test.advance(1)).rejects.toMatchObject({ code: 'ERR_INVALID_STATE' })
    await advancing
  })
})

describe('a seed', () => {
  /** Who comes first of those that are due at the same time, and how many jobs run before the event loop's turn? */
  async function run(seed?: number) {
    using test = install(seed === undefined ? {} : { seed })
    const order: string[] = []
    const sleeps = async (scope: Scope) => {
      await scope.sleep(5)
      order.push(scope.name)
    }
    for (let i = 0; i < 10; i++) spawn('background', sleeps, { name: `sleeper ${i}` })
    for (let i = 0; i < 3; i++) every(5, () => order.push(`ticker ${i}`))
    for (let i = 0; i < 100; i++) post('background', () => order.push(`post ${i}`))
    setImmediate(() => order.push('foreign'))
    await test.advance(5)
    return order
  }
  const of = (order: string[], kind: string) => order.filter(name => name.startsWith(kind))

  test('permutes what is due at the same time, and when the event loop has its turn', async () => {
    const inOrder = await run()
    expect(of(inOrder, 'sleeper')).toEqual(Array.from({ length: 10 }, (_, i) => `sleeper ${i}`))
    expect(of(inOrder, 'ticker')).toEqual(['ticker 0', 'ticker 1', 'ticker 2'])
    const orders: string[][] = []
    for (let seed = 0; seed < 20; seed++) orders.push(await run(seed))
    const distinct = (pick: (order: string[]) => unknown) =>
      new Set(orders.map(order => String(pick(order)))).size
    expect(distinct(order => of(order, 'sleeper'))).toBe(20)
    expect(distinct(order => of(order, 'ticker'))).toBeGreaterThan(2)
    expect(distinct(order => order.indexOf('foreign'))).toBeGreaterThan(3)
  })

  test('changes nothing of what is promised', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const order = await run(seed)
      expect(order).toHaveLength(114)
      expect(of(order, 'post')).toEqual(Array.from({ length: 100 }, (_, i) => `post ${i}`))
      // A tick that is due comes before every task that has just been woken.
      expect(order.slice(101, 104).every(name => name.startsWith('ticker'))).toBe(true)
    }
  })

  test('replays', async () => {
    for (const seed of [0, 1, 2 ** 31, Number.MAX_SAFE_INTEGER])
      expect(await run(seed)).toEqual(await run(seed))
  })
})

describe('pollOnce', () => {
  test('tells whether a promise has settled, and how', async () => {
    const error = new Error('failed')
    expect(await pollOnce(Promise.resolve(1))).toEqual({ status: 'fulfilled', value: 1 })
    expect(await pollOnce(Promise.reject(error))).toEqual({ status: 'rejected', reason: error })
    expect(await pollOnce(new Promise(() => {}))).toEqual({ status: 'pending' })
    await expect(pollOnce(undefined as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })

  test('lets the microtasks run that are due, and nothing else', async () => {
    const test = installed()
    const chain = (async () => {
      for (let i = 0; i < 100; i++) await undefined
      return 'the end'
    })()
    expect(await pollOnce(chain)).toEqual({ status: 'fulfilled', value: 'the end' })
    const task = spawn('realtime', () => 1)
    expect(await pollOnce(task)).toEqual({ status: 'pending' })
    await test.advance(0)
    expect(await pollOnce(task)).toEqual({ status: 'fulfilled', value: 1 })
  })
})

describe('awaitWithin', () => {
  test('moves the virtual clock no further than needed', async () => {
    const test = installed()
    const task = spawn('background', async scope => {
      await scope.sleep(70)
      return 'done'
    })
    expect(await awaitWithin(task, 1_000_000)).toBe('done')
    expect(test.now()).toBe(70)
  })

  test('what is pending still is a TimeoutError, and the time has passed', async () => {
    const test = installed()
    const task = spawn('background', scope => scope.sleep(70))
    await expect(awaitWithin(task, 69)).rejects.toMatchObject({ name: 'TimeoutError' })
    expect(test.now()).toBe(69)
    await awaitWithin(task, 1)
  })

  test('rejects as the promise does', async () => {
    installed()
    const task = spawn('background', async scope => {
      await scope.sleep(1)
      throw new RangeError('too far')
    })
    await expect(awaitWithin(task, 5)).rejects.toThrow('too far')
  })

  test('without a virtual clock it takes the real one, and leaves no timer behind', async () => {
    await expect(awaitWithin(new Promise(() => {}), 5)).rejects.toMatchObject({ name: 'TimeoutError' })
    const timers = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
    const before = timers()
    expect(await awaitWithin(Promise.resolve(1), 60_000)).toBe(1)
    await turn()
    expect(timers()).toBe(before)
  })

  test('bad arguments are refused', async () => {
    await expect(awaitWithin(1 as never, 5)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    await expect(awaitWithin(Promise.resolve(), -5)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })
})
