import { describe, expect, test } from 'vitest'
import {
  type Asker,
  askerOf,
  type Caller,
  deliver,
  limit,
  type Priority,
  priorities,
  rankOf,
  shared,
} from '../src/priority.ts'

type SignalWithPriority = AbortSignal & { priority: Priority }

/** As a web TaskSignal: a plain AbortSignal with a priority, and `prioritychange`. */
function taskSignal(priority: Priority) {
  const controller = new AbortController()
  const signal = Object.assign(controller.signal, { priority }) as SignalWithPriority
  const setPriority = (next: Priority) => {
    signal.priority = next
    signal.dispatchEvent(new Event('prioritychange'))
  }
  return { controller, signal, setPriority }
}

describe('a caller', () => {
  test.each(priorities)('%s stands for one constant asker', priority => {
    expect(askerOf(priority)).toBe(askerOf(priority))
    expect(askerOf(priority)).toMatchObject({ priority })
    expect(askerOf(priority).signal).toBeUndefined()
  })

  test('that is an asker is guarded, once a call', () => {
    const asker: Asker = { priority: 'background' }
    const guarded = askerOf(asker)
    expect(guarded).not.toBe(askerOf(asker))
    expect(askerOf(guarded)).toBe(guarded)
    expect([guarded.priority, guarded.deliver, guarded.owner === asker]).toEqual([
      'background',
      undefined,
      true,
    ])
  })

  test.each([undefined, null, 0, 3, true, {}, [], () => {}, new AbortController().signal, Symbol('x')])(
    '%s is none: ERR_INVALID_ARG_TYPE',
    caller => {
      expect(() => askerOf(caller as unknown as Caller)).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
      )
    },
  )

  test.each([
    '',
    'Background',
    'high',
    'toString',
    { priority: 'high' },
    { priority: undefined },
    { priority: 3 },
  ])('%j has no priority that we know: ERR_INVALID_ARG_VALUE, never a default', caller => {
    expect(() => askerOf(caller as Caller)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
    )
  })

  test('the error names the four', () => {
    for (const priority of priorities) expect(() => rankOf('x' as Priority)).toThrow(priority)
  })
})

describe('a TaskSignal', () => {
  test('is a caller: its priority is live, its abort is the signal', () => {
    const { signal, setPriority, controller } = taskSignal('background')
    const asker = askerOf(signal)
    expect(asker.priority).toBe('background')
    setPriority('user-blocking')
    expect(asker.priority).toBe('user-blocking')
    controller.abort('why')
    expect(asker.signal).toMatchObject({ aborted: true, reason: 'why' })
  })

  test('tells of its changes, until the subscription ends', () => {
    const { signal, setPriority } = taskSignal('background')
    const heard: string[] = []
    const asker = askerOf(signal)
    const first = asker.onPriorityChange!(() => heard.push(`first ${asker.priority}`))
    const second = asker.onPriorityChange!(() => heard.push(`second ${asker.priority}`))
    setPriority('user-visible')
    first()
    first() // again is nothing
    setPriority('realtime')
    second()
    setPriority('background')
    expect(heard).toEqual(['first user-visible', 'second user-visible', 'second realtime'])
  })

  test('has one listener, however many wait, and none when nobody does', () => {
    const { signal } = taskSignal('background')
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    const ends = Array.from({ length: 10_000 }, () => askerOf(signal).onPriorityChange!(() => {}))
    expect(listeners).toBe(1)
    for (const end of ends) end()
    expect(listeners).toBe(0)
    askerOf(signal).onPriorityChange!(() => {})
    expect(listeners).toBe(1)
  })
})

describe("a caller's own code", () => {
  const mine = new Error('mine')
  const throws = () => {
    throw mine
  }
  const broken = (what: object): Asker => Object.assign(Object.create(null), { priority: 'background' }, what)

  test('whose priority becomes none of the four is at fault, and has its last one', () => {
    const caller = { priority: 'user-visible' }
    const asker = askerOf(caller as Caller)
    caller.priority = 'urgent'
    expect(asker.priority).toBe('user-visible')
    expect(asker.fault).toMatchObject({ error: { code: 'ERR_INVALID_ARG_VALUE' } })
    caller.priority = 'realtime'
    expect(asker.priority).toBe('user-visible')
    expect(askerOf(caller as Caller).fault).toBeUndefined()
  })

  test('whose priority throws is at fault, and has its last one', () => {
    let isBroken = false
    const asker = askerOf({
      get priority(): Priority {
        if (isBroken) throws()
        return 'realtime'
      },
    })
    isBroken = true
    expect([asker.priority, asker.fault]).toEqual(['realtime', { error: mine }])
  })

  test('that throws when it is subscribed to, or unsubscribed, is at fault', () => {
    const subscribed = askerOf(broken({ onPriorityChange: throws }))
    subscribed.onPriorityChange!(() => {})()
    const unsubscribed = askerOf(broken({ onPriorityChange: () => throws }))
    const end = unsubscribed.onPriorityChange!(() => {})
    expect(unsubscribed.fault).toBeUndefined()
    end()
    expect([subscribed.fault, unsubscribed.fault]).toEqual([{ error: mine }, { error: mine }])
  })

  test('that returns no function to unsubscribe with is at fault', () => {
    const asker = askerOf(broken({ onPriorityChange: () => 1 }))
    asker.onPriorityChange!(() => {})()
    expect(asker.fault).toMatchObject({ error: { name: 'TypeError' } })
  })

  test('that delivers twice delivers once', () => {
    const asker = askerOf({
      priority: 'background',
      deliver(job) {
        job()
        job()
      },
    })
    let runs = 0
    deliver(asker, () => runs++)
    expect(runs).toBe(1)
  })

  test.each([
    ['before it has run the job', (_: () => void) => throws()],
    [
      'after it has run the job',
      (job: () => void) => {
        job()
        throws()
      },
    ],
  ])('that throws in deliver %s: the job runs once, and the error is uncaught', async (_, toDeliver) => {
    const uncaught: unknown[] = []
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', error => uncaught.push(error))
    let runs = 0
    try {
      deliver(askerOf({ priority: 'background', deliver: toDeliver }), () => runs++)
      await new Promise(resolve => setImmediate(resolve))
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const other of others) process.on('uncaughtException', other)
    }
    expect([runs, uncaught]).toEqual([1, [mine]])
  })

  test('has its fault through a limit, too', () => {
    const caller = { priority: 'background' }
    const limited = limit(caller as Caller, { atMost: 'background' })
    caller.priority = 'urgent'
    expect(limited.priority).toBe('background')
    expect(limited.fault).toMatchObject({ error: { code: 'ERR_INVALID_ARG_VALUE' } })
  })
})

describe('limit', () => {
  test('of a limit, a hundred thousand times, is one limit', () => {
    let caller: Asker = limit('realtime', { atMost: 'user-visible' })
    for (let i = 0; i < 100_000; i++) caller = limit(caller, { atMost: 'realtime' })
    expect(caller.priority).toBe('user-visible')
    let ran = false
    deliver(caller, () => {
      ran = true
    })
    expect(ran).toBe(true)
  })

  test.each(priorities.flatMap(asked => priorities.map(atMost => [asked, atMost] as const)))(
    '%s at most %s only ever lowers',
    (asked, atMost) => {
      expect(rankOf(limit(asked, { atMost }).priority)).toBe(Math.max(rankOf(asked), rankOf(atMost)))
    },
  )

  test('is live', () => {
    const caller: { priority: Priority } = { priority: 'background' }
    const limited = limit(caller, { atMost: 'user-visible' })
    caller.priority = 'realtime'
    expect(limited.priority).toBe('user-visible')
    caller.priority = 'background'
    expect(limited.priority).toBe('background')
  })

  test('passes on the changes of the caller, and its unsubscribing', () => {
    const { signal, setPriority } = taskSignal('background')
    let heard = 0
    const end = limit(signal, { atMost: 'user-visible' }).onPriorityChange!(() => heard++)
    setPriority('user-visible')
    end()
    setPriority('background')
    expect(heard).toBe(1)
    expect(limit('background', {}).onPriorityChange!(() => {})()).toBeUndefined()
  })

  test('of a limit lowers twice', () => {
    const inner = limit('realtime', { atMost: 'user-blocking' })
    expect(limit(inner, { atMost: 'background' }).priority).toBe('background')
    expect(limit(limit('realtime', { atMost: 'background' }), { atMost: 'user-blocking' }).priority).toBe(
      'background',
    )
  })

  test('has the signal of the caller, the one given, or both', () => {
    const callers = new AbortController()
    const ours = new AbortController()
    const caller: Asker = { priority: 'background', signal: callers.signal }
    expect(limit('background', {}).signal).toBeUndefined()
    expect(limit(caller, {}).signal).toBe(callers.signal)
    expect(limit('background', { signal: ours.signal }).signal).toBe(ours.signal)
    const both = [
      limit(caller, { signal: ours.signal }),
      limit(caller, { signal: new AbortController().signal }),
    ]
    ours.abort('ours')
    expect(both.map(limited => limited.signal!.aborted)).toEqual([true, false])
    callers.abort('theirs')
    expect(both.map(limited => limited.signal!.reason)).toEqual(['ours', 'theirs'])
  })

  test.each([
    [undefined, {}, 'ERR_INVALID_ARG_TYPE'],
    ['high', {}, 'ERR_INVALID_ARG_VALUE'],
    ['background', { atMost: 'high' }, 'ERR_INVALID_ARG_VALUE'],
    ['background', { signal: {} }, 'ERR_INVALID_ARG_TYPE'],
  ])('limit(%j, %j): %s', (caller, options, code) => {
    expect(() => limit(caller as Caller, options as object)).toThrow(expect.objectContaining({ code }))
  })
})

describe('deliver', () => {
  test('without core a bare priority runs the job at once', () => {
    for (const priority of priorities) {
      let ran = false
      deliver(askerOf(priority), () => {
        ran = true
      })
      expect(ran).toBe(true)
    }
  })

  test('a caller without a deliver is delivered as its bare priority, as it is then', () => {
    const queued = withCore(() => {
      const caller: { priority: Priority } = { priority: 'background' }
      deliver(askerOf(caller), () => {})
      caller.priority = 'realtime'
      deliver(askerOf(caller), () => {})
    })
    expect(queued.map(({ rank }) => rank)).toEqual([3, 0])
  })

  test('a limited caller waits for the turn of the lowered priority, then for its own', () => {
    const order: string[] = []
    const caller: Asker = {
      priority: 'realtime',
      deliver: job => {
        order.push("the caller's turn")
        job()
      },
    }
    const queued = withCore(() => deliver(limit(caller, { atMost: 'background' }), () => order.push('job')))
    expect(order).toEqual([])
    expect(queued.map(({ rank }) => rank)).toEqual([3])
    queued[0]!.job()
    expect(order).toEqual(["the caller's turn", 'job'])
  })

  test('a limited caller that is paused is not resumed by the limit', () => {
    const held: (() => void)[] = []
    const paused: Asker = { priority: 'user-visible', deliver: job => held.push(job) }
    let ran = 0
    for (const atMost of ['realtime', 'user-visible', 'background'] as const) {
      deliver(limit(paused, { atMost }), () => ran++)
    }
    expect([ran, held.length]).toEqual([0, 3])
    for (const job of held) job()
    expect(ran).toBe(3)
  })

  /** What a scheduler would be asked to queue: the hook that core sets. */
  function withCore(work: () => void): { rank: number; job: () => void }[] {
    const queued: { rank: number; job: () => void }[] = []
    const before = shared.deliver
    shared.deliver = (rank, job, context) => queued.push({ rank, job: () => job(context as never) })
    try {
      work()
    } finally {
      shared.deliver = before
    }
    return queued
  }
})

describe('two copies of this package', () => {
  // The second copy is another module: the same built file under another address.
  const copy = (name: string, which: number) =>
    import(/* @vite-ignore */ new URL(`../dist/${name}.js?copy=${which}`, import.meta.url).href)

  test('share the askers, the lane and the hook of core', async () => {
    const [one, two] = [await copy('priority', 1), await copy('priority', 2)]
    expect(one.askerOf).not.toBe(two.askerOf)
    expect(one.askerOf('realtime')).toBe(two.askerOf('realtime'))
    expect(one.askerOf('realtime')).toBe(askerOf('realtime'))
    expect(one.shared).toBe(shared)
    const [laneOne, laneTwo] = [await copy('lane', 1), await copy('lane', 2)]
    expect(laneOne.Lane).not.toBe(laneTwo.Lane)
    expect(laneOne.lane).toBe(laneTwo.lane)

    const before = shared.deliver
    let ranks: number[] = []
    one.shared.deliver = (rank: number) => {
      ranks = [...ranks, rank]
    }
    try {
      two.deliver(two.askerOf('background'), () => {})
    } finally {
      shared.deliver = before
    }
    expect(ranks).toEqual([3])
  })
})
