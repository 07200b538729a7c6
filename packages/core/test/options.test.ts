import { once } from 'node:events'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createScheduler, type Priority, type SchedulerOptions } from '../src/default-scheduler.ts'
import { ring } from '../src/doorbell.ts'
import { VirtualClock } from '../src/virtual-clock.ts'

function spin(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

describe('the guard', () => {
  /** A task of 4 ms chunks, and a tick each 10 ms: how late are the ticks, and how many chunks are done? */
  async function run(options: SchedulerOptions) {
    const clock = new VirtualClock()
    const scheduler = createScheduler({ clock, ...options })
    const late: number[] = []
    let chunks = 0
    scheduler.every(10, lateMs => late.push(lateMs))
    const task = scheduler.spawn('background', async scope => {
      for (;;) {
        clock.spend(4)
        chunks++
        await scope.yield()
      }
    })
    while (late.length < 20) await clock.advance(0.5)
    scheduler.dispose()
    await task.catch(() => {})
    return { late: late.slice(2), chunks }
  }

  test('holds a task that is expected to run beyond the next tick, and no tick is late', async () => {
    const { late, chunks } = await run({})
    expect(Math.max(...late)).toBeLessThanOrEqual(0.5) // the test's own step
    expect(chunks).toBeGreaterThan(20)
  })

  test('off, ticks are late by what is left of the chunk', async () => {
    const { late } = await run({ guard: false })
    expect(Math.max(...late)).toBeGreaterThanOrEqual(2)
  })

  test('holds nothing for longer than guardMaxWaitMs', async () => {
    const { late } = await run({ guardMaxWaitMs: 0.1 })
    expect(Math.max(...late)).toBeGreaterThanOrEqual(2)
  })

  test('holds a job past one tick at most: one that is longer than the period still runs', async () => {
    const clock = new VirtualClock()
    const scheduler = createScheduler({ clock })
    const log: string[] = []
    scheduler.every(10, () => log.push('tick'))
    scheduler.spawn('background', async function long(scope) {
      for (let i = 0; i < 4; i++) {
        log.push('long')
        clock.spend(25)
        await scope.yield()
      }
    })
    while (log.filter(one => one === 'long').length < 4) await clock.advance(1)
    scheduler.dispose()
    // Right after the tick, each time.
    expect(log.join(' ')).toMatch(/^long(( tick)+ long){3}( tick)*$/)
  })

  test('estimates by name: a short task is not held for a long one', async () => {
    const clock = new VirtualClock()
    const scheduler = createScheduler({ clock })
    let ticks = 0
    const chunk = (ms: number) => () => {
      clock.spend(ms)
    }
    await scheduler.spawn('background', chunk(6), { name: 'long' }) // now it is known
    scheduler.every(10, () => ticks++)
    await clock.advance(5) // 5 ms are left
    await scheduler.spawn('background', chunk(1), { name: 'short' })
    const long = scheduler.spawn('background', chunk(6), { name: 'long' })
    await clock.advance(1)
    expect(scheduler.tasks().map(({ name, state }) => `${name} ${state}`)).toEqual(['long queued'])
    expect(ticks).toBe(0)
    await clock.advance(3)
    await long
    expect(ticks).toBe(1)
    scheduler.dispose()
  })

  test('the end of a long task is a short job', async () => {
    const clock = new VirtualClock()
    const scheduler = createScheduler({ clock })
    scheduler.every(10, () => {})
    await scheduler.spawn('background', () => {
      clock.spend(6)
    })
    expect(clock.now()).toBe(6)
    scheduler.dispose()
  })

  test('while it holds, the loop sleeps', async () => {
    const guarded = createScheduler({ guardMaxWaitMs: 1000 })
    onTestFinished(() => guarded.dispose())
    await guarded.spawn('background', () => spin(60), { name: 'long' })
    guarded.every(200, () => {})
    let ran = false
    await sleep(150)
    guarded.spawn(
      'background',
      () => {
        ran = true
        spin(60)
      },
      { name: 'long' },
    )
    await sleep(2)
    const { user, system } = process.cpuUsage()
    await sleep(35)
    const used = process.cpuUsage({ user, system })
    expect(ran).toBe(false)
    expect((used.user + used.system) / 1000).toBeLessThan(25)
  })
})

describe('aging', () => {
  async function shares(options: SchedulerOptions) {
    const clock = new VirtualClock()
    const scheduler = createScheduler({ clock, ...options })
    const log: string[] = []
    let stop = false
    const busy = () => {
      clock.spend(1)
      log.push('busy')
      if (!stop) scheduler.post('user-blocking', busy)
    }
    clock.spend(1_000_000) // long after whatever a scheduler may take for the beginning
    scheduler.post('user-blocking', busy)
    for (let i = 0; i < 3; i++) scheduler.post('background', () => log.push('background'))
    for (let i = 0; i < 60; i++) await turn()
    stop = true
    for (let i = 0; i < 5; i++) await turn()
    return log
  }

  test('off, what is less urgent waits as long as there is something more urgent', async () => {
    const log = await shares({})
    expect(log.indexOf('background')).toBe(log.lastIndexOf('busy') + 1)
  })

  test('on, one job of it runs when it has waited so long, not before, and the next after as long again', async () => {
    const log = await shares({ agingMs: 10 })
    const places = log.flatMap((one, place) => (one === 'background' ? [place] : []))
    expect(places).toHaveLength(3)
    expect(places[0]).toBeGreaterThanOrEqual(10)
    expect(places[0]).toBeLessThan(14)
    expect(places[1]! - places[0]!).toBeGreaterThanOrEqual(10)
    expect(places[2]! - places[1]!).toBeGreaterThanOrEqual(10)
  })
})

describe('deadlines', () => {
  test('within a priority the earliest deadline comes first, and no deadline last', async () => {
    const scheduler = createScheduler()
    const log: string[] = []
    const spawn = (name: string, priority: Priority, deadlineMs?: number) =>
      scheduler.spawn(priority, () => void log.push(name), { name, ...(deadlineMs && { deadlineMs }) })
    await Promise.all([
      spawn('none', 'background'),
      spawn('later', 'background', 20_000),
      spawn('soon', 'background', 10_000),
      spawn('urgent', 'user-visible'),
      spawn('none, too', 'background'),
    ])
    expect(log).toEqual(['urgent', 'soon', 'later', 'none', 'none, too'])
  })

  test('a miss is reported and counted, and cancels nothing', async () => {
    const clock = new VirtualClock()
    const missed: unknown[] = []
    const scheduler = createScheduler({ clock, onMissedDeadline: one => missed.push(one) })
    const inTime = scheduler.spawn('user-visible', scope => scope.sleep(5), { deadlineMs: 10 })
    const late = scheduler.spawn('background', scope => scope.sleep(30).then(() => 'value'), {
      name: 'late',
      deadlineMs: 10,
    })
    for (let i = 0; i < 8; i++) await clock.advance(i === 0 ? 0 : 5)
    await inTime
    expect(await late).toBe('value')
    expect(missed).toEqual([{ name: 'late', priority: 'background', lateMs: 20 }])
    expect(scheduler.stats().missedDeadlines).toBe(1)
  })

  test('a task with a deadline keeps its place in the order when its priority changes', async () => {
    const scheduler = createScheduler()
    const log: string[] = []
    const slow = scheduler.spawn('background', () => void log.push('deadline'), { deadlineMs: 10_000 })
    scheduler.spawn('user-visible', () => void log.push('none'))
    slow.priority = 'user-visible'
    await slow
    await turn()
    await turn()
    expect(log).toEqual(['deadline', 'none'])
  })
})

describe('what holds the thread', () => {
  test('is told of with its name, priority and time, and from the second spawn on with its place', async () => {
    const overruns: unknown[] = []
    const scheduler = createScheduler({ onOverrun: one => overruns.push(one), overrunMs: 20 })
    const hog = () => scheduler.spawn('user-visible', () => spin(30), { name: 'hog' })
    await hog()
    await scheduler.spawn('background', () => spin(1), { name: 'light' })
    await hog()
    await turn()
    expect(overruns).toEqual([
      { name: 'hog', priority: 'user-visible', ms: expect.any(Number) },
      { name: 'hog', priority: 'user-visible', ms: expect.any(Number), spawnedAt: expect.any(String) },
    ])
    expect((overruns[0] as { ms: number }).ms).toBeGreaterThanOrEqual(30)
    expect((overruns[1] as { spawnedAt: string }).spawnedAt).toContain('options.test.ts')
  })

  test('is not the task that has ended, but what awaits it', async () => {
    const overruns: unknown[] = []
    const scheduler = createScheduler({ onOverrun: one => overruns.push(one), overrunMs: 20 })
    for (let i = 0; i < 2; i++) {
      await scheduler.spawn('background', () => {}, { name: 'light' })
      spin(30)
      await turn()
    }
    await turn()
    const overrun = { name: 'what awaits light', priority: 'background', ms: expect.any(Number) }
    expect(overruns).toEqual([overrun, overrun])
  })

  test('is told of when it is posted, or is a tick', async () => {
    const names: string[] = []
    const scheduler = createScheduler({ onOverrun: ({ name }) => names.push(name), overrunMs: 20 })
    scheduler.post('realtime', () => spin(25))
    const ticker = scheduler.every(
      5,
      () => {
        spin(25)
        ticker.stop()
      },
      { name: 'frame' },
    )
    await sleep(80)
    expect(names).toEqual(["post('realtime')", 'frame'])
  })

  test('is a process warning, once for each name', async () => {
    const warnings: string[] = []
    const listener = (warning: Error) => warnings.push(warning.message)
    process.on('warning', listener)
    onTestFinished(() => void process.off('warning', listener))
    const scheduler = createScheduler({ overrunMs: 20 })
    for (let i = 0; i < 2; i++) await scheduler.spawn('background', () => spin(25), { name: 'a hog' })
    await sleep(5)
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(/^'a hog' has held the thread for \d+ ms/)
  })
})

describe('seeing', () => {
  test('stats tell what is queued and what has run, per priority, and how late', async () => {
    const scheduler = createScheduler()
    for (let i = 0; i < 5; i++) scheduler.post('background', () => {})
    scheduler.post('realtime', () => {})
    const paused = scheduler.spawn('user-visible', () => {})
    const pause = paused.pause()
    expect(scheduler.stats()).toMatchObject({
      realtime: { queued: 1, run: 0 },
      'user-visible': { queued: 0, run: 0 },
      background: { queued: 5, run: 0, latenessMs: { p50: 0, p99: 0, max: 0 } },
      every: [],
      missedDeadlines: 0,
    })
    const ticker = scheduler.every(2, () => {}, { name: 'frame' })
    await sleep(30)
    pause[Symbol.dispose]()
    await paused
    const stats = scheduler.stats()
    ticker.stop()
    expect(stats.background).toMatchObject({ queued: 0, run: 5 })
    expect(stats.realtime.run).toBe(1)
    expect(stats.background.latenessMs.max).toBeGreaterThan(0)
    expect(stats.background.latenessMs.p50).toBeLessThanOrEqual(stats.background.latenessMs.max)
    expect(stats['user-visible'].run).toBe(2) // its start, and its end; the stale turn is none
    expect(stats.every).toEqual([
      {
        name: 'frame',
        periodMs: 2,
        ticks: expect.any(Number),
        missedTicks: expect.any(Number),
        latenessMs: expect.objectContaining({ max: expect.any(Number) }),
      },
    ])
    expect(stats.every[0]!.ticks).toBeGreaterThan(3)
    expect(scheduler.stats().every).toEqual([])
  })

  test('tasks tell name, priority, state and age of those that have not ended', async () => {
    const scheduler = createScheduler()
    const states = () => scheduler.tasks().map(({ name, priority, state }) => `${name} ${priority} ${state}`)
    const later = scheduler.spawn('background', () => {}, { name: 'later', delayMs: 50_000 })
    const sleeper = scheduler.spawn('user-visible', scope => scope.sleep(50_000), { name: 'sleeper' })
    let seen: string[] = []
    const runner = scheduler.spawn(
      'realtime',
      () => {
        seen = states()
      },
      { name: 'runner' },
    )
    expect(states()).toEqual([
      'later background delayed',
      'sleeper user-visible queued',
      'runner realtime queued',
    ])
    await runner
    expect(seen).toContain('runner realtime running')
    await sleep(5)
    const pause = later.pause()
    expect(states()).toEqual(['later background paused', 'sleeper user-visible waiting'])
    expect(scheduler.tasks()[0]!.ageMs).toBeGreaterThanOrEqual(4)
    pause[Symbol.dispose]()
    scheduler.dispose()
    await Promise.allSettled([later, sleeper])
    expect(states()).toEqual([])
  })
})

describe('the doorbell', () => {
  test('makes shouldYield true until the event loop had its turn, so that a message breaks in', async () => {
    const scheduler = createScheduler({ budgetMs: 10_000 })
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads')
       import(workerData.ring).then(({ ring }) => {
         parentPort.postMessage('ready')
         setTimeout(() => { parentPort.postMessage('message'); ring(workerData.doorbell) }, 20)
       })`,
      {
        eval: true,
        workerData: {
          doorbell: scheduler.doorbell,
          ring: new URL('../dist/doorbell.js', import.meta.url).href,
        },
      },
    )
    await once(worker, 'message')
    let message: string | undefined
    worker.once('message', text => {
      message = text
    })
    const yields = await scheduler.spawn('background', async scope => {
      const endMs = performance.now() + 5000
      let rounds = 0
      while (message === undefined && performance.now() < endMs) {
        if (!scope.shouldYield()) continue
        rounds++
        await scope.yield()
      }
      return rounds
    })
    expect(message).toBe('message')
    expect(yields).toBeGreaterThan(0)
    expect(yields).toBeLessThan(50)
    await worker.terminate()
  })

  test('rung during a job, lets the event loop have its turn after that job', async () => {
    const scheduler = createScheduler({ budgetMs: 10_000 })
    const { doorbell } = scheduler
    for (let before = 0; before < 12; before++) {
      const log: string[] = []
      for (let i = 0; i < before; i++) scheduler.post('background', () => {})
      scheduler.post('background', () => {
        ring(doorbell)
        setImmediate(() => log.push('turn'))
      })
      scheduler.post('background', () => log.push('next job'))
      await new Promise<void>(resolve => scheduler.post('background', resolve))
      expect(log, `after ${before} jobs`).toEqual(['turn', 'next job'])
    }
  })

  test('rung just before the jobs begin, lets the event loop have its turn before them', async () => {
    const scheduler = createScheduler({ budgetMs: 10_000 })
    const { doorbell } = scheduler
    const log: string[] = []
    setImmediate(() => {
      ring(doorbell)
      setImmediate(() => log.push('turn'))
    })
    scheduler.post('background', () => log.push('one'))
    scheduler.post('background', () => log.push('two'))
    await new Promise<void>(resolve => scheduler.post('background', resolve))
    expect(log).toEqual(['turn', 'one', 'two'])
  })

  test('rung all the time, lets a job run in every second turn', async () => {
    const scheduler = createScheduler()
    const { doorbell } = scheduler
    let ran = 0
    const job = () => {
      if (++ran < 100) scheduler.post('background', job)
    }
    scheduler.post('background', job)
    for (let turns = 0; ran < 100 && turns < 210; turns++) {
      await turn()
      ring(doorbell)
    }
    expect(ran).toBe(100)
  })
})

describe('schedulers of your own', () => {
  test('two run side by side', async () => {
    const [one, other] = [createScheduler(), createScheduler()]
    const log: string[] = []
    one.post('background', () => log.push('one'))
    other.post('realtime', () => log.push('other'))
    const values = await Promise.all([one.spawn('realtime', () => 1), other.spawn('background', () => 2)])
    expect(values).toEqual([1, 2])
    expect(new Set(log)).toEqual(new Set(['one', 'other']))
  })

  test('disposed of, it stops its ticks, cancels its tasks, and takes nothing more', async () => {
    const scheduler = createScheduler()
    let ticks = 0
    scheduler.every(1, () => ticks++)
    const sleeping = scheduler.spawn('background', scope => scope.sleep(100_000))
    const log: string[] = []
    scheduler.post('background', () => log.push('posted'))
    scheduler.dispose()
    scheduler.dispose()
    await expect(sleeping).rejects.toMatchObject({ name: 'AbortError' })
    const before = ticks
    await sleep(10)
    expect(ticks).toBe(before)
    expect(log).toEqual(['posted'])
    const invalid = expect.objectContaining({ code: 'ERR_INVALID_STATE' })
    expect(() => scheduler.spawn('background', () => {})).toThrow(invalid)
    expect(() => scheduler.post('background', () => {})).toThrow(invalid)
    expect(() => scheduler.every(1, () => {})).toThrow(invalid)
  })

  test('bad options are errors, before anything starts', () => {
    for (const [options, code] of [
      [{ budgetMs: 0 }, 'ERR_OUT_OF_RANGE'],
      [{ agingMs: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ guardMaxWaitMs: Number.NaN }, 'ERR_OUT_OF_RANGE'],
      [{ budgetMs: '1' }, 'ERR_INVALID_ARG_TYPE'],
      [{ guard: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ clock: {} }, 'ERR_INVALID_ARG_TYPE'],
      [{ onOverrun: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ onMissedDeadline: 'x' }, 'ERR_INVALID_ARG_TYPE'],
      [{ overrunMs: 0 }, 'ERR_OUT_OF_RANGE'],
    ] as [object, string][]) {
      expect(() => createScheduler(options), JSON.stringify(options)).toThrow(
        expect.objectContaining({ code }),
      )
    }
  })
})
