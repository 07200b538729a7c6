import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { lane } from '../src/lane.ts'
import { InUse, Operation } from '../src/operation.ts'
import type { Asker, Caller, Priority } from '../src/priority.ts'

/** An operation whose OS is this test: it counts what it is asked for, and completes when it is told to. */
class Probe extends Operation<string> {
  protected readonly ownsBuffer: boolean
  override readonly promise: Promise<string>
  starts = 0
  stops = 0
  ends = 0
  onStart = () => {}

  constructor(caller: Caller, { ownsBuffer = true } = {}) {
    let resolve = (_: string) => {}
    let reject = (_: unknown) => {}
    const promise = new Promise<string>((...both) => {
      ;[resolve, reject] = both
    })
    super(caller, resolve, reject)
    promise.catch(() => {})
    this.promise = promise
    this.ownsBuffer = ownsBuffer
  }

  start(): void {
    this.starts++
    this.onStart()
  }

  protected stop(): void {
    this.stops++
  }

  end(): void {
    this.ends++
  }

  /** The OS is done. */
  complete(value = 'done'): void {
    this.leave()
    if (this.aborted) this.fail(new Error('cancelled by the OS'))
    else this.succeed(value)
    this.end()
  }
}

async function outcome(probe: Probe): Promise<unknown> {
  const pending = Symbol('pending')
  const settled = await Promise.race([
    probe.promise.then(
      value => ({ value }),
      reason => ({ reason }),
    ),
    new Promise(resolve => setImmediate(resolve, pending)),
  ])
  return settled === pending ? 'pending' : settled
}

function abortable(priority: Priority = 'background') {
  const controller = new AbortController()
  return { controller, signal: controller.signal, caller: { priority, signal: controller.signal } as Asker }
}

describe('an abort', () => {
  test('before it begins: rejects at once, never starts, gives back what it holds', async () => {
    const { controller, caller, signal } = abortable()
    controller.abort('why')
    const probe = new Probe(caller)
    probe.begin(0)
    expect(await outcome(probe)).toEqual({ reason: 'why' })
    expect([probe.starts, probe.stops, probe.ends]).toEqual([0, 0, 1])
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })

  test('while it waits in the lane: rejects at once, never starts, gives back what it holds', async () => {
    const blockers = Array.from({ length: 4 }, () => new Probe('background'))
    for (const blocker of blockers) blocker.begin(0)
    const { controller, caller, signal } = abortable()
    const probe = new Probe(caller, { ownsBuffer: false })
    probe.begin(0)
    expect(probe.starts).toBe(0)
    controller.abort('why')
    expect(await outcome(probe)).toEqual({ reason: 'why' })
    for (const blocker of blockers) blocker.complete()
    expect([probe.starts, probe.stops, probe.ends]).toEqual([0, 0, 1])
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })

  test("in flight, into the library's buffer: rejects at once, is held until the OS is done", async () => {
    const { controller, caller, signal } = abortable()
    const probe = new Probe(caller, { ownsBuffer: true })
    probe.begin(0)
    controller.abort('why')
    expect(await outcome(probe)).toEqual({ reason: 'why' })
    expect([probe.starts, probe.stops, probe.ends]).toEqual([1, 1, 0])
    probe.complete()
    expect(probe.ends).toBe(1)
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })

  test("in flight, into the caller's buffer: rejects when the OS is done, with the reason of the signal", async () => {
    const { controller, caller, signal } = abortable()
    const probe = new Probe(caller, { ownsBuffer: false })
    probe.begin(0)
    controller.abort('why')
    expect(await outcome(probe)).toBe('pending')
    expect([probe.starts, probe.stops, probe.ends]).toEqual([1, 1, 0])
    probe.complete()
    expect(await outcome(probe)).toEqual({ reason: 'why' })
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })

  test('after the outcome, before its delivery: changes nothing', async () => {
    const { controller, signal } = abortable()
    const turns: (() => void)[] = []
    const probe = new Probe({ priority: 'background', signal, deliver: job => turns.push(job) })
    probe.begin(0)
    probe.complete()
    expect(await outcome(probe)).toBe('pending')
    controller.abort('why')
    expect([probe.stops, turns.length]).toEqual([0, 1])
    turns[0]!()
    expect(await outcome(probe)).toEqual({ value: 'done' })
  })

  test('reaches every operation of the signal, also when those that wait are let go one by one', async () => {
    const { controller, caller, signal } = abortable()
    const probes = Array.from({ length: 100 }, (_, i) => new Probe(caller, { ownsBuffer: i % 2 === 0 }))
    for (const probe of probes) probe.begin(0)
    expect(probes.filter(probe => probe.starts > 0).length).toBe(4)
    controller.abort('why')
    for (const probe of probes) if (probe.starts > 0) probe.complete()
    expect(await Promise.all(probes.map(outcome))).toEqual(probes.map(() => ({ reason: 'why' })))
    expect(probes.map(probe => probe.ends)).toEqual(probes.map(() => 1))
    expect(probes.filter(probe => probe.starts > 0).length).toBe(4)
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })

  test('of one signal leaves the operations of another', async () => {
    const [one, other] = [abortable('realtime'), abortable('realtime')]
    const [gone, stays] = [new Probe(one.caller), new Probe(other.caller)]
    gone.begin(0)
    stays.begin(0)
    one.controller.abort('why')
    stays.complete()
    gone.complete()
    expect([await outcome(gone), await outcome(stays)]).toEqual([{ reason: 'why' }, { value: 'done' }])
  })
})

describe('listeners', () => {
  test('one on a signal, however many operations; none when they are done', async () => {
    const { signal, caller } = abortable()
    const probes = Array.from({ length: 10_000 }, () => new Probe(caller))
    for (const probe of probes) probe.begin(0)
    expect(getEventListeners(signal, 'abort').length).toBe(1)
    for (const probe of probes) probe.complete()
    expect(getEventListeners(signal, 'abort').length).toBe(0)
    await Promise.all(probes.map(probe => probe.promise))
  })

  test('of a TaskSignal: one for its priority as well, and none left', async () => {
    const signal = Object.assign(new AbortController().signal, { priority: 'background' as Priority })
    const probes = Array.from({ length: 10_000 }, () => new Probe(signal))
    for (const probe of probes) probe.begin(0)
    expect(getEventListeners(signal, 'prioritychange').length).toBe(1)
    for (const probe of probes) probe.complete()
    expect(getEventListeners(signal, 'prioritychange').length).toBe(0)
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })

  test('one after the other on one signal, thousands of times: none is left', () => {
    const { signal, caller } = abortable('realtime')
    for (let i = 0; i < 5000; i++) {
      const probe = new Probe(caller)
      probe.begin(0)
      probe.complete()
    }
    expect(getEventListeners(signal, 'abort').length).toBe(0)
  })
})

describe('the outcome', () => {
  test('is delivered when the caller says so, once', async () => {
    const turns: (() => void)[] = []
    const probe = new Probe({ priority: 'realtime', deliver: job => turns.push(job) })
    probe.begin(0)
    probe.complete('first')
    probe.succeed('second')
    probe.fail(new Error('third'))
    expect(turns.length).toBe(1)
    turns[0]!()
    expect(await probe.promise).toBe('first')
  })

  test('undelivered bytes of a background caller hold back its next, until they are delivered', async () => {
    const turns: (() => void)[] = []
    const slow: Asker = { priority: 'background', deliver: job => turns.push(job) }
    const large = new Probe(slow)
    large.begin(0)
    large.leave()
    large.succeed('large', 16 * 1024 * 1024)
    const next = new Probe(slow)
    next.begin(0)
    const other = new Probe('background')
    other.begin(0)
    expect([next.starts, other.starts]).toEqual([0, 1])
    turns[0]!()
    expect(next.starts).toBe(1)
    next.complete()
    other.complete()
    turns[1]!()
    await next.promise
  })

  test('a start that throws is the outcome, and leaves the lane as it was', async () => {
    for (let i = 0; i < 10; i++) {
      const probe = new Probe('background')
      const error = new RangeError('Array buffer allocation failed')
      probe.onStart = () => {
        throw error
      }
      probe.begin(1024)
      expect(await outcome(probe)).toEqual({ reason: error })
      expect(probe.ends).toBe(1)
    }
    const after = Array.from({ length: 4 }, () => new Probe('background'))
    for (const probe of after) probe.begin(0)
    expect(after.map(probe => probe.starts)).toEqual([1, 1, 1, 1])
    for (const probe of after) probe.complete()
  })

  test('a start that throws when its turn comes later does not hit the one that made room', async () => {
    const blockers = Array.from({ length: 4 }, () => new Probe('background'))
    for (const blocker of blockers) blocker.begin(0)
    const probe = new Probe('background')
    probe.onStart = () => {
      throw new Error('no memory')
    }
    probe.begin(0)
    expect(() => blockers[0]!.complete()).not.toThrow()
    for (const blocker of blockers.slice(1)) blocker.complete()
    expect(await outcome(probe)).toMatchObject({ reason: { message: 'no memory' } })
    expect(await outcome(blockers[0]!)).toEqual({ value: 'done' })
  })
})

describe("a caller's own code that throws costs its own call", () => {
  test('its priority is bad while it waits: it rejects, and the others go on', async () => {
    const blockers = Array.from({ length: 4 }, () => new Probe('background'))
    for (const blocker of blockers) blocker.begin(0)
    let changed = () => {}
    const caller = {
      priority: 'background',
      onPriorityChange(listener: () => void) {
        changed = listener
        return () => {}
      },
    }
    const bad = new Probe(caller as Asker)
    const next = new Probe('background')
    bad.begin(0)
    next.begin(0)
    caller.priority = 'urgent'
    changed()
    for (const blocker of blockers) blocker.complete()
    bad.complete()
    next.complete()
    expect(await outcome(bad)).toMatchObject({ reason: { code: 'ERR_INVALID_ARG_VALUE' } })
    expect(await outcome(next)).toEqual({ value: 'done' })
    expect(lane.isIdle).toBe(true)
  })

  test('its unsubscribe throws: it rejects, and the others go on', async () => {
    const blockers = Array.from({ length: 4 }, () => new Probe('background'))
    for (const blocker of blockers) blocker.begin(0)
    const error = new Error('mine')
    const bad = new Probe({
      priority: 'background',
      onPriorityChange: () => () => {
        throw error
      },
    })
    const next = new Probe('background')
    bad.begin(0)
    next.begin(0)
    for (const blocker of blockers) blocker.complete()
    expect([bad.starts, next.starts]).toEqual([1, 1])
    bad.complete()
    next.complete()
    expect(await outcome(bad)).toEqual({ reason: error })
    expect([await outcome(next), lane.isIdle]).toEqual([{ value: 'done' }, true])
  })
})

test('an operation raised in the lane starts in that same call', () => {
  const blockers = Array.from({ length: 4 }, () => new Probe('background'))
  for (const blocker of blockers) blocker.begin(0)
  const signal = Object.assign(new AbortController().signal, { priority: 'background' as Priority })
  const probe = new Probe(signal)
  probe.begin(0)
  expect(probe.starts).toBe(0)
  signal.priority = 'user-blocking'
  signal.dispatchEvent(new Event('prioritychange'))
  expect(probe.starts).toBe(1)
  for (const operation of [probe, ...blockers]) operation.complete()
  expect(lane.depth).toBe(4)
})

test('counts what is under way, and closes when that is nothing', async () => {
  const inUse = new InUse()
  inUse.enter('read')
  inUse.enter('write')
  expect(inUse.count).toBe(2)
  let isFinished = false
  const closed = inUse.close(async () => {
    isFinished = true
  })
  expect(() => inUse.enter('read')).toThrow(expect.objectContaining({ code: 'EBADF', syscall: 'read' }))
  inUse.leave()
  expect(inUse.count).toBe(1)
  await Promise.resolve()
  expect(isFinished).toBe(false)
  inUse.leave()
  await closed
  expect(isFinished).toBe(true)
  expect(inUse.count).toBe(0)
})
