import { getEventListeners, once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createScheduler, every, type Priority, post, type Scheduler } from '../src/default-scheduler.ts'
import { runModule } from './run-module.test-support.ts'

const priorities: Priority[] = ['realtime', 'user-blocking', 'user-visible', 'background']

/** Everything that is queued now has run. */
const queueDrained = () => new Promise<void>(resolve => post('background', resolve))

function methods(scheduler: Scheduler): Pick<Scheduler, 'every' | 'post'> {
  return { every: scheduler.every.bind(scheduler), post: scheduler.post.bind(scheduler) }
}

function spin(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

test('a listener that throws is an uncaught exception, and costs no job and no task anything', async () => {
  const { code, out, err } = await runModule(`
    import { createScheduler } from '../src/default-scheduler.ts'
    process.on('uncaughtException', error => console.log('uncaught', error.message))
    const failing = what => () => { throw new Error(what) }
    const scheduler = createScheduler({
      overrunMs: 5, onOverrun: failing('overrun'), onMissedDeadline: failing('deadline'),
    })
    const hog = () => { for (const end = performance.now() + 10; performance.now() < end; ); return 'value' }
    console.log(await scheduler.spawn('background', hog, { deadlineMs: 1 }))
    scheduler.post('background', hog) // the last job of a slice
    await new Promise(resolve => setTimeout(resolve, 30))
    scheduler.post('background', () => console.log('goes on'))
  `)
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const lines = out.split('\n')
  expect(lines).toContain('value')
  expect(lines).toContain('goes on')
  expect(lines).toContain('uncaught deadline')
  expect(lines.filter(line => line === 'uncaught overrun')).toHaveLength(2)
})

describe('post', () => {
  test('the most urgent runs first, and first in, first out within a priority', async () => {
    const log: string[] = []
    for (const round of [1, 2, 3]) {
      for (const priority of priorities.toReversed()) post(priority, () => log.push(`${priority} ${round}`))
    }
    await queueDrained()
    expect(log).toEqual(priorities.flatMap(priority => [1, 2, 3].map(round => `${priority} ${round}`)))
  })

  test('a job never runs inside post, nor in the same tick', async () => {
    let ran = false
    post('realtime', () => {
      ran = true
    })
    expect(ran).toBe(false)
    await Promise.resolve()
    expect(ran).toBe(false)
    await queueDrained()
    expect(ran).toBe(true)
  })

  test('an unknown priority and what is not a function throw at once', () => {
    for (const priority of ['urgent', 'Realtime', '', undefined, null, 0, {}, 'toString']) {
      expect(() => post(priority as Priority, () => {})).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
      )
    }
    for (const job of [undefined, null, 'job', {}]) {
      expect(() => post('background', job as never)).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
      )
    }
  })

  test('a job is called with nothing', async () => {
    let given: unknown[] | undefined
    post('background', (...all: unknown[]) => {
      given = all.filter(one => one !== undefined)
    })
    await queueDrained()
    expect(given).toEqual([])
  })

  test('random posts from random jobs: never a lower one before a ready higher one', async () => {
    interface Planned {
      rank: number
      /** Posted by that one; by the test if it is none before this. */
      parent: number
      via: 'job' | 'microtask' | 'nextTick' | 'promise'
    }
    const planned = fc.record<Planned>({
      rank: fc.nat({ max: 3 }),
      parent: fc.nat({ max: 100 }),
      via: fc.constantFrom('job', 'microtask', 'nextTick', 'promise'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(planned, { minLength: 1, maxLength: 100 }), async plan => {
        const queues: Planned[][] = [[], [], [], []]
        const wrong: string[] = []
        let ran = 0
        const plant = (job: Planned) => {
          queues[job.rank]!.push(job)
          post(priorities[job.rank]!, () => {
            ran++
            const first = queues.find(queue => queue.length > 0)?.shift()
            if (first !== job) wrong.push(`rank ${job.rank} ran, rank ${first?.rank} was first`)
            const id = plan.indexOf(job)
            const next = () => plan.filter((one, i) => i > id && one.parent === id).forEach(plant)
            if (job.via === 'job') next()
            else if (job.via === 'microtask') queueMicrotask(next)
            else if (job.via === 'nextTick') process.nextTick(next)
            else void Promise.resolve().then(() => Promise.resolve().then(next))
          })
        }
        plan.filter((job, i) => job.parent >= i).forEach(plant)
        while (queues.some(queue => queue.length > 0)) await queueDrained()
        expect(wrong).toEqual([])
        expect(ran).toBe(plan.length)
      }),
      { numRuns: 200 },
    )
  })
})

describe('the event loop', () => {
  const jobCount = 100_000

  /** Posts jobs for 200 ms and more. Returns how many have run. */
  function flood(): { ran: number; done: Promise<void> } {
    const state = { ran: 0, done: Promise.resolve() }
    state.done = new Promise(resolve => {
      const job = () => {
        spin(0.002)
        if (++state.ran === jobCount) resolve()
      }
      for (let i = 0; i < jobCount; i++) post('realtime', job)
    })
    return state
  }

  test('a timer does not wait for 100,000 realtime jobs', async () => {
    const jobs = flood()
    let ranBefore = jobCount
    setTimeout(() => {
      ranBefore = jobs.ran
    }, 5)
    await jobs.done
    expect(ranBefore).toBeLessThan(jobCount / 2)
  })

  test('nor does a socket', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = connectSocket((server.address() as AddressInfo).port, '127.0.0.1')
    const [peer] = await accepted
    const jobs = flood()
    client.write('ping')
    peer.once('data', () => peer.write('pong'))
    await once(client, 'data')
    expect(jobs.ran).toBeLessThan(jobCount / 2)
    await jobs.done
    client.destroy()
    peer.destroy()
    server.close()
  })

  test('has its turn after about a millisecond', async () => {
    let turns = 0
    let running = true
    const turn = () => {
      turns++
      if (running) setImmediate(turn)
    }
    turn()
    await flood().done
    running = false
    expect(turns).toBeGreaterThan(20) // 200 and more on an idle machine
  })

  test.each([
    { jobs: 8, ticks: false },
    { jobs: 4, ticks: true },
  ])(
    'has its turn after $jobs long jobs, if after thousands of short ones, where something ticks: $ticks',
    async ({ jobs, ticks }) => {
      const ticker = ticks ? every(10_000, () => {}) : undefined
      let turn = 0
      let running = true
      const next = () => {
        turn++
        if (running) setImmediate(next)
      }
      next()
      const longInTurn: number[] = []
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 1000; i++) post('user-visible', () => {})
        for (let i = 0; i < 20; i++) {
          post('user-visible', () => {
            longInTurn[turn] = (longInTurn[turn] ?? 0) + 1
            spin(2)
          })
        }
      }
      await queueDrained()
      running = false
      ticker?.stop()
      expect(longInTurn.reduce((sum, count) => sum + count, 0)).toBe(60)
      expect(Math.max(...longInTurn.filter(count => count > 0))).toBeLessThanOrEqual(jobs)
    },
  )
})

describe('every', () => {
  test('the first tick is one period from now, and not before', async () => {
    const startMs = performance.now()
    const atMs = await new Promise<number>(resolve => {
      const ticker = every(20, () => {
        ticker.stop()
        resolve(performance.now())
      })
    })
    expect(atMs - startMs).toBeGreaterThanOrEqual(20)
  })

  test('waiting for a tick takes few turns of the event loop: each makes garbage', async () => {
    const turns = () => performance.nodeTiming.uvMetricsInfo.loopCount
    const { every } = methods(createScheduler())
    const before = turns()
    await new Promise<void>(resolve => {
      let ticks = 0
      const ticker = every(10, () => {
        if (++ticks < 20) return
        ticker.stop()
        resolve()
      })
    })
    expect((turns() - before) / 20).toBeLessThan(70) // a millisecond of them would be several hundreds
  })

  test('the grid is kept: no tick is early, and lateness does not add up', async () => {
    const periodMs = 4.3
    const ticks: { atMs: number; lateMs: number; missedTicks: number }[] = []
    const { every, post } = methods(createScheduler({ guard: false })) // nothing waits for a tick
    const startMs = performance.now()
    const ticker = every(periodMs, (lateMs, missedTicks) => {
      ticks.push({ atMs: performance.now(), lateMs, missedTicks })
      spin(ticks.length % 3) // uneven work
    })
    const job = () => {
      spin(0.7) // most ticks come in the middle of one
      if (ticks.length < 40) post('background', job)
    }
    job()
    while (ticks.length < 40) await sleep(5)
    ticker.stop()
    expect(ticks.filter(({ lateMs }) => lateMs > 0.1).length).toBeGreaterThan(10)
    let gridPoint = 1
    for (const { atMs, lateMs, missedTicks } of ticks) {
      expect(lateMs).toBeGreaterThanOrEqual(0)
      expect(missedTicks).toBe(Math.floor(lateMs / periodMs))
      expect(atMs - startMs).toBeGreaterThanOrEqual(gridPoint * periodMs + lateMs)
      gridPoint += 1 + missedTicks
    }
    const offGridMs = ticks.map(({ atMs, lateMs }) => (atMs - lateMs - startMs) % periodMs)
    // Each of them, unless this thread was off its core between the tick and the test's own look at the clock.
    expect(offGridMs.filter(ms => ms < 0.4).length).toBeGreaterThan(ticks.length / 2)
  })

  test('after a block it fires once, with its lateness and the ticks that it missed', async () => {
    const log: string[] = []
    const ticker = every(50, (lateMs, missedTicks) => {
      log.push(`tick, ${Math.floor(lateMs / 50) - missedTicks}, ${lateMs >= 155}`)
    })
    post('realtime', () => log.push('job'))
    spin(205)
    await queueDrained()
    ticker.stop()
    expect(log.slice(0, 2)).toEqual(['tick, 0, true', 'job'])
  })

  test('of several, the one whose time came first fires first, and all of them before a queued job', async () => {
    const log: string[] = []
    const tickers = [30, 10, 20].map(periodMs => every(periodMs, () => log.push(`${periodMs}`)))
    post('realtime', () => {
      log.push('realtime')
      for (const ticker of tickers) ticker.stop()
    })
    spin(35)
    await queueDrained()
    expect(log.slice(0, 3)).toEqual(['10', '20', '30'])
    expect(log.at(-1)).toBe('realtime')
  })

  test('a deadline is looked at between two jobs', async () => {
    const log: string[] = []
    const ticker = every(5, () => log.push('tick'))
    post('realtime', () => {
      spin(10)
      log.push('long')
    })
    post('realtime', () => log.push('next'))
    await queueDrained()
    ticker.stop()
    expect(log.indexOf('next')).toBeGreaterThan(log.indexOf('long') + 1)
    expect(log[log.indexOf('long') + 1]).toBe('tick')
  })

  test('a job may stop its own ticker', async () => {
    let ticks = 0
    const ticker = every(1, () => {
      ticks++
      ticker.stop()
      ticker.stop()
    })
    spin(5)
    await queueDrained()
    await sleep(10)
    expect(ticks).toBe(1)
  })

  test('a job may stop another ticker that is due, and start a new one', async () => {
    const log: string[] = []
    const first = every(2, () => {
      if (log.push('first') > 1) return
      second.stop()
      third = every(2, () => log.push('third'))
    })
    const second = every(3, () => log.push('second'))
    let third = first
    spin(10)
    while (!log.includes('third')) await sleep(1)
    first.stop()
    third.stop()
    expect(log).not.toContain('second')
  })

  test('an aborted signal stops it, and one that has aborted already never starts it', async () => {
    const controller = new AbortController()
    let ticks = 0
    const tick = () => ticks++
    every(1, tick, { signal: controller.signal })
    every(1, tick, { signal: AbortSignal.abort() })
    controller.abort()
    spin(5)
    await queueDrained()
    await sleep(5)
    expect(ticks).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('a stopped ticker leaves no listener on its signal', () => {
    const { signal } = new AbortController()
    const ticker = every(1000, () => {}, { signal })
    expect(getEventListeners(signal, 'abort').length).toBe(1)
    ticker.stop()
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('it is disposable, has a name, and ref and unref return it', () => {
    using ticker = every(1000, function frame() {})
    expect(ticker.name).toBe('frame')
    expect(ticker.unref()).toBe(ticker)
    expect(ticker.ref()).toBe(ticker)
    expect(every(1000, () => {}, { name: 'audio', signal: AbortSignal.abort() }).name).toBe('audio')
  })

  test('bad arguments throw at once', () => {
    const range = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
    const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
    for (const periodMs of [0, -1, 0.05, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31 - 0.5, 2 ** 31]) {
      expect(() => every(periodMs, () => {})).toThrow(range)
    }
    for (const periodMs of ['5', undefined, null, 5n]) {
      expect(() => every(periodMs as never, () => {})).toThrow(type)
    }
    expect(() => every(5, undefined as never)).toThrow(type)
    expect(() => every(5, () => {}, { signal: {} as AbortSignal })).toThrow(type)
  })

  test('an async job is a type error', () => {
    const checkedByTsc = () => {
      // @ts-expect-error: it would be resumed out of the ticks' order
      every(10, async () => {})
      // @ts-expect-error: a promise is one too
      every(10, () => Promise.resolve(1))
      every(10, () => {})
      every(10, lateMs => lateMs > 1)
      every(10, (_lateMs, missedTicks) => void missedTicks)
      every(10, (): void => {})
    }
    expect(checkedByTsc).toBeTypeOf('function')
  })
})

describe('what keeps the process alive', () => {
  test('an idle scheduler does not', async () => {
    const { code, out } = await runModule(`
      post('background', () => console.log('ran'))
      spawn('background', () => console.log('task'))
      process.on('exit', () => console.log('end'))`)
    expect({ code, out }).toEqual({ code: 0, out: 'ran\ntask\nend\n' })
  })

  test('an imported scheduler holds no handle', async () => {
    const { out } = await runModule(
      `console.log(process.getActiveResourcesInfo().filter(kind => !/Pipe|TTY/.test(kind)).length)`,
    )
    expect(out).toBe('0\n')
  })

  test('every does, until it is stopped', async () => {
    const { code, out } = await runModule(`
      let ticks = 0
      const ticker = every(5, () => {
        if (++ticks === 20) ticker.stop()
      })
      process.on('exit', () => console.log(ticks))`)
    expect({ code, out }).toEqual({ code: 0, out: '20\n' })
  })

  test('an unref’d one does not', async () => {
    const { code, out } = await runModule(`
      every(100_000, () => {}).unref()
      every(100_001, () => {}).unref()
      process.on('exit', () => console.log('end'))`)
    expect({ code, out }).toEqual({ code: 0, out: 'end\n' })
  })

  test('an unref’d one ticks as long as something else keeps it alive', async () => {
    const { code, out } = await runModule(`
      let ticks = 0
      const ticker = every(5, () => ticks++).unref()
      const alive = setInterval(() => {
        if (ticks >= 5) clearInterval(alive)
      }, 5)
      process.on('exit', () => console.log(ticks >= 5))`)
    expect({ code, out }).toEqual({ code: 0, out: 'true\n' })
  })

  test('one that is ref’d again does', async () => {
    const { code, out } = await runModule(`
      const ticker = every(50, () => {
        console.log('tick')
        ticker.unref()
      }).unref()
      ticker.ref()`)
    expect({ code, out }).toEqual({ code: 0, out: 'tick\n' })
  })

  test('one behind an unref’d one does', async () => {
    const { code, out } = await runModule(`
      every(20, () => {}).unref()
      const ticker = every(60, () => {
        console.log('tick')
        ticker.stop()
      })`)
    expect({ code, out }).toEqual({ code: 0, out: 'tick\n' })
  })

  test('one that is stopped while an unref’d one is due earlier does not', async () => {
    const { code, out } = await runModule(`
      every(100_000, () => {}).unref()
      every(200_000, () => {}).stop()
      process.on('exit', () => console.log('end'))`)
    expect({ code, out }).toEqual({ code: 0, out: 'end\n' })
  })

  test('an abort, and a stop within a tick, let it end', async () => {
    const { code, out } = await runModule(`
      const controller = new AbortController()
      every(100_000, () => {}, { signal: controller.signal })
      const ticker = every(5, () => {
        ticker.stop()
        controller.abort()
      })
      process.on('exit', () => console.log('end'))`)
    expect({ code, out }).toEqual({ code: 0, out: 'end\n' })
  })

  test('a job that ends the process ends it', async () => {
    const { code, out } = await runModule(`
      post('realtime', () => process.exit(7))
      post('realtime', () => console.log('never'))`)
    expect({ code, out }).toEqual({ code: 7, out: '' })
  })
})

describe.each([
  ['with microtasks drained', []],
  ['in batches of immediates, where process._tickCallback would warn', ['--pending-deprecation']],
])('%s', (_how, nodeOptions) => {
  async function lines(source: string): Promise<string[]> {
    const { code, out, err } = await runModule(source, nodeOptions)
    expect({ code, err }).toEqual({ code: 0, err: '' }) // no warning either
    return out.split('\n').slice(0, -1)
  }

  test('the promises and ticks of one job run before the next job', async () => {
    const out = await lines(`
      const log = text => () => console.log(text)
      post('background', () => {
        console.log('low')
        process.nextTick(() => {
          console.log('tick')
          Promise.resolve().then(log('promise of tick')).then(log('and its next'))
        })
        queueMicrotask(() => process.nextTick(log('tick of microtask')))
        post('realtime', log('high'))
      })
      post('background', log('low again'))`)
    expect(out).toEqual([
      'low',
      'tick',
      'promise of tick',
      'and its next',
      'tick of microtask',
      'high',
      'low again',
    ])
  })

  test('a job posted from a job runs after it, in its place', async () => {
    const out = await lines(`
      const log = text => () => console.log(text)
      post('user-visible', () => {
        post('background', log('background'))
        post('user-visible', log('last user-visible'))
        post('user-blocking', log('user-blocking'))
        console.log('first')
      })
      post('user-visible', log('second'))`)
    expect(out).toEqual(['first', 'user-blocking', 'second', 'last user-visible', 'background'])
  })

  test('what a job, a microtask or a tick throws is an uncaught exception, and the rest still runs', async () => {
    const out = await lines(`
      process.on('uncaughtException', error => console.log('uncaught ' + error.message))
      for (const rank of ['realtime', 'background']) {
        post(rank, () => { throw new Error(rank) })
        post(rank, () => queueMicrotask(() => { throw new Error('microtask') }))
        post(rank, () => process.nextTick(() => { throw new Error('tick') }))
        post(rank, () => console.log('next'))
      }`)
    const each = (rank: string) => [`uncaught ${rank}`, 'uncaught microtask', 'uncaught tick', 'next']
    expect(out).toEqual([...each('realtime'), ...each('background')])
  })

  test('a job queued from the handler of an uncaught exception runs', async () => {
    const out = await lines(`
      process.on('uncaughtException', () => post('realtime', () => console.log('handled')))
      post('realtime', () => { throw new Error('alone') })`)
    expect(out).toEqual(['handled'])
  })

  test('a tick that throws goes on ticking', async () => {
    const out = await lines(`
      process.on('uncaughtException', error => console.log(error.message))
      let ticks = 0
      const ticker = every(3, () => {
        if (++ticks === 3) ticker.stop()
        throw new Error('tick ' + ticks)
      })`)
    expect(out).toEqual(['tick 1', 'tick 2', 'tick 3'])
  })

  test('ticks come ahead of what is queued, and the queue goes on', async () => {
    const out = await lines(`
      const spin = ms => { const end = performance.now() + ms; while (performance.now() < end); }
      let ticks = 0
      let sinceTick = 0
      let most = 0
      const ticker = every(10, () => { ticks++; sinceTick = 0 })
      let left = 200
      const job = () => {
        most = Math.max(most, ++sinceTick)
        spin(1)
        if (--left > 0) post('realtime', job)
        else { ticker.stop(); console.log(ticks >= 5, most <= 12 || most) }
      }
      post('realtime', job)`)
    expect(out).toEqual(['true true'])
  })

  test('never a lower one before a ready higher one, in ten thousand random jobs', async () => {
    const out = await lines(`
      let seed = 42
      const random = below => (seed = (seed * 1103515245 + 12345) % 2147483648) % 65536 % below
      const ranks = ['realtime', 'user-blocking', 'user-visible', 'background']
      const queues = [[], [], [], []]
      let planted = 0, ran = 0, wrong = 0
      const plant = () => {
        if (planted === 10_000) return
        const id = planted++
        const rank = random(4)
        queues[rank].push(id)
        post(ranks[rank], () => {
          ran++
          if (queues.find(queue => queue.length > 0).shift() !== id) wrong++
          const more = () => { for (let i = random(3); i >= 0; i--) plant() }
          ;[more, () => queueMicrotask(more), () => process.nextTick(more)][random(3)]()
        })
      }
      for (let i = 0; i < 100; i++) plant()
      process.on('exit', () => console.log(planted, ran, wrong))`)
    expect(out).toEqual(['10000 10000 0'])
  })

  test('tasks go on in the order of their priorities', async () => {
    const out = await lines(`
      const step = name => async scope => {
        for (let i = 0; i < 3; i++) {
          console.log(name + i)
          await scope.run(Promise.resolve())
        }
      }
      for (const rank of ['background', 'user-visible', 'realtime']) {
        spawn(rank, step(rank))
        spawn(rank, step(rank + ' b'))
      }`)
    const each = (rank: string) => [0, 1, 2].flatMap(i => [`${rank}${i}`, `${rank} b${i}`])
    expect(out).toEqual([...each('realtime'), ...each('user-visible'), ...each('background')])
  })

  test('a timer gets its turn among jobs that post the next one', async () => {
    const out = await lines(`
      let over = false
      let jobs = 0
      setTimeout(() => { over = true }, 5)
      const job = () => { jobs++; if (!over) post('realtime', job); else console.log('over') }
      post('realtime', job)`)
    expect(out).toEqual(['over'])
  })
})

test('an uncaught exception ends a process that does not handle it', async () => {
  const { code, out, err } = await runModule(`
    post('realtime', () => { throw new Error('fatal') })
    post('realtime', () => console.log('never'))`)
  expect(code).toBe(1)
  expect(out).toBe('')
  expect(err).toContain('Error: fatal')
})

test('each worker thread has a scheduler of its own', async () => {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData).then(({ post, spawn, every }) => {
      const log = []
      post('background', () => parentPort.postMessage(log))
      const task = spawn('user-visible', async scope => { await scope.yield(); log.push('task') })
      post('realtime', () => log.push('realtime'))
    })`
  const answer = async () => {
    const worker = new Worker(source, {
      eval: true,
      workerData: new URL('../src/default-scheduler.ts', import.meta.url).href,
    })
    const ended = once(worker, 'exit') // its own scheduler does not keep it alive
    const [log] = await once(worker, 'message')
    const [code] = await ended
    return { log, code }
  }
  const mine = answer()
  let posted = 0
  post('background', () => posted++)
  expect(await Promise.all([mine, answer()])).toEqual([
    { log: ['realtime', 'task'], code: 0 },
    { log: ['realtime', 'task'], code: 0 },
  ])
  expect(posted).toBe(1)
})

test('a worker that is terminated in the middle of its jobs takes nothing else with it', async () => {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     import(workerData).then(({ post, every }) => {
       every(1, () => {})
       const job = () => post('realtime', job)
       job()
       parentPort.postMessage('running')
     })`,
    { eval: true, workerData: new URL('../src/default-scheduler.ts', import.meta.url).href },
  )
  await once(worker, 'message')
  expect(await worker.terminate()).toBe(1)
  await queueDrained()
})

test('a file that is read in a pool thread is resumed among realtime jobs', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-core-'))
  let going = true
  const job = () => {
    spin(0.05)
    if (going) post('realtime', job)
  }
  job()
  const { readFile, writeFile } = await import('node:fs/promises')
  await writeFile(join(folder, 'file'), 'content')
  expect(await readFile(join(folder, 'file'), 'utf8')).toBe('content')
  going = false
  rmSync(folder, { recursive: true })
})
