import { getEventListeners } from 'node:events'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { askerOf } from '@kiruna/priority'
import { describe, expect, test } from 'vitest'
import { post } from '../src/default-scheduler.ts'
import { install } from '../src/testing.ts'
import {
  Scheduler,
  scheduler,
  TaskController,
  type TaskPriority,
  TaskPriorityChangeEvent,
  TaskSignal,
} from '../src/web.ts'

const taskPriorities: TaskPriority[] = ['user-blocking', 'user-visible', 'background']

/** Posts a task that notes its name. */
function noted(order: string[], name: string, options?: Parameters<Scheduler['postTask']>[1]) {
  return scheduler.postTask(() => void order.push(name), options)
}

describe('postTask', () => {
  test('the most urgent runs first, and first in, first out within a priority', async () => {
    const order: string[] = []
    const posted = taskPriorities
      .toReversed()
      .flatMap(priority => [1, 2].map(n => noted(order, `${priority} ${n}`, { priority })))
    await Promise.all(posted)
    expect(order).toEqual(taskPriorities.flatMap(priority => [`${priority} 1`, `${priority} 2`]))
  })

  test('the callback runs in a later turn, with neither arguments nor this', async () => {
    let received: unknown
    const posted = scheduler.postTask(function (this: unknown, ...args: unknown[]) {
      received = [this, args]
    })
    expect(received).toBe(undefined)
    await posted
    expect(received).toEqual([undefined, []])
  })

  test('resolves to what the callback returned, a promise of it too, and rejects with what it threw', async () => {
    const error = new Error('thrown')
    expect(await scheduler.postTask(() => 1)).toBe(1)
    expect(await scheduler.postTask(async () => 2)).toBe(2)
    const thrown = scheduler.postTask(() => {
      throw error
    })
    await expect(thrown).rejects.toBe(error)
    await expect(scheduler.postTask(() => Promise.reject(error))).rejects.toBe(error)
  })

  test('shares its queues with post', async () => {
    const order: string[] = []
    post('background', () => order.push('post background'))
    const task = noted(order, 'task')
    post('user-visible', () => order.push('post'))
    await task
    await scheduler.postTask(() => {}, { priority: 'background' })
    expect(order).toEqual(['task', 'post', 'post background'])
  })

  test('a priority option is fixed, whatever becomes of the signal', async () => {
    const order: string[] = []
    const controller = new TaskController({ priority: 'user-blocking' })
    const one = noted(order, 'fixed', { priority: 'background', signal: controller.signal })
    const other = noted(order, 'other', { priority: 'user-visible' })
    controller.setPriority('user-visible')
    await Promise.all([one, other])
    expect(order).toEqual(['other', 'fixed'])
  })

  test('a task whose priority changes keeps its age among those that it joins', async () => {
    const order: string[] = []
    const controller = new TaskController({ priority: 'background' })
    const { signal } = controller
    const posted = [
      noted(order, '0', { priority: 'user-blocking' }),
      noted(order, '1', { signal }),
      noted(order, '2', { priority: 'user-blocking' }),
      noted(order, '3', { signal }),
      noted(order, '4', { priority: 'user-blocking' }),
      noted(order, '5', { signal }),
    ]
    controller.setPriority('user-visible')
    controller.setPriority('user-blocking')
    await Promise.all(posted)
    expect(order).toEqual(['0', '1', '2', '3', '4', '5'])
  })

  test.each([TaskController, AbortController])('what a %o aborts never runs', async Controller => {
    const order: string[] = []
    const controller = new Controller()
    const { signal } = controller
    const reason = new Error('no more')
    // A listener of the user's comes first here, and keeps the event from whoever follows.
    signal.addEventListener('abort', event => event.stopImmediatePropagation())
    const waiting = noted(order, 'waiting', { signal })
    const delayed = noted(order, 'delayed', { signal, delay: 1 })
    const dynamic = noted(order, 'dynamic', { signal: TaskSignal.any([signal]) })
    controller.abort(reason)
    const late = noted(order, 'late', { signal })
    for (const one of [waiting, delayed, dynamic, late]) await expect(one).rejects.toBe(reason)
    await sleep(3)
    await scheduler.postTask(() => {}, { priority: 'background' })
    expect(order).toEqual([])
  })

  test('a callback that aborts its own signal rejects, and an async one that has begun does not', async () => {
    const controller = new TaskController()
    const { signal } = controller
    const ongoing = scheduler.postTask(
      async () => {
        await turn()
        return 'done'
      },
      { signal },
    )
    await expect(scheduler.postTask(() => controller.abort('own'), { signal })).rejects.toBe('own')
    expect(await ongoing).toBe('done')
  })

  test('a signal is not listened to any more when its tasks are done', async () => {
    const { signal } = new AbortController()
    await Promise.all([scheduler.postTask(() => {}, { signal }), scheduler.postTask(() => {}, { signal })])
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('a delay is the least time', async () => {
    const startMs = performance.now()
    await scheduler.postTask(() => {}, { delay: 4 })
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(4)
  })

  test('what is due at the same time keeps the order of posting', async () => {
    for (let seed = 0; seed < 10; seed++) {
      using test = install({ seed })
      const order: string[] = []
      void noted(order, 'longer', { delay: 2 })
      for (let i = 0; i < 20; i++) void noted(order, `${i}`, { delay: 1 })
      test.spend(2)
      await test.advance(0)
      expect(order).toEqual([...Array.from({ length: 20 }, (_, i) => `${i}`), 'longer'])
    }
  })

  test('a delayed task has the priority that its signal has when the delay is over', async () => {
    using test = install()
    const order: string[] = []
    const controller = new TaskController({ priority: 'background' })
    void noted(order, 'other', { delay: 1 })
    void noted(order, 'delayed', { signal: controller.signal, delay: 1 })
    controller.setPriority('user-blocking')
    await test.advance(1)
    expect(order).toEqual(['delayed', 'other'])
  })

  test('options are converted as WebIDL would, and a bad one rejects', async () => {
    const job = () => {}
    const bad: unknown[] = [
      1,
      'options',
      { priority: 'realtime' },
      { priority: '' },
      { priority: null },
      { priority: Symbol('background') },
      { signal: null },
      { signal: {} },
      { signal: Object.create(AbortSignal.prototype) },
      { delay: -1 },
      { delay: Number.NaN },
      { delay: Number.POSITIVE_INFINITY },
      { delay: 2 ** 53 },
      { delay: 1n },
      { delay: 'soon' },
    ]
    for (const options of bad) {
      await expect(scheduler.postTask(job, options as object), String(options)).rejects.toThrow(TypeError)
    }
    for (const callback of [undefined, null, {}, 'job']) {
      await expect(scheduler.postTask(callback as never)).rejects.toThrow(TypeError)
    }
    const good: unknown[] = [undefined, null, job, { delay: '1' }, { delay: -0.9 }, { delay: null }]
    good.push({ priority: { toString: () => 'background' }, signal: undefined, other: 1 })
    for (const options of good) await scheduler.postTask(job, options as object)
  })

  test('options are read in the order of their names, each once', async () => {
    const read: string[] = []
    const options = new Proxy({}, { get: (_, name) => void read.push(String(name)) })
    await scheduler.postTask(() => {}, options)
    expect(read).toEqual(['delay', 'priority', 'signal'])
  })
})

describe('yield', () => {
  test.each(taskPriorities)('a continuation comes before the tasks of its priority: %s', async priority => {
    const order: string[] = []
    const posted = [
      scheduler.postTask(
        async () => {
          for (let i = 0; i < 3; i++) {
            order.push(`yield ${i}`)
            await scheduler.yield()
          }
        },
        { priority },
      ),
      ...taskPriorities.map(other => noted(order, other, { priority: other })),
    ]
    await Promise.all(posted)
    const expected: string[] = [...taskPriorities]
    expected.splice(expected.indexOf(priority), 0, 'yield 0', 'yield 1', 'yield 2')
    expect(order).toEqual(expected)
  })

  test('inherits priority and signal across awaits, timers and queueMicrotask', async () => {
    const order: string[] = []
    const controller = new TaskController({ priority: 'background' })
    await scheduler.postTask(
      async () => {
        await turn()
        await sleep(1)
        await new Promise<void>(resolve => queueMicrotask(resolve))
        const other = noted(order, 'other')
        await scheduler.yield()
        order.push('continuation')
        await other
        const abort = scheduler.postTask(() => controller.abort('stop'), { priority: 'user-blocking' })
        await expect(scheduler.yield()).rejects.toBe('stop')
        await expect(scheduler.yield()).rejects.toBe('stop')
        await abort
      },
      { signal: controller.signal },
    )
    expect(order).toEqual(['other', 'continuation'])
  })

  test('follows the changes of the priority that it has inherited', async () => {
    const order: string[] = []
    const controller = new TaskController({ priority: 'background' })
    await scheduler.postTask(
      async () => {
        const other = noted(order, 'other')
        const going = scheduler.yield().then(() => order.push('continuation'))
        controller.setPriority('user-blocking')
        await Promise.all([other, going])
      },
      { signal: controller.signal },
    )
    expect(order).toEqual(['continuation', 'other'])
  })

  test('outside of a task it is user-visible', async () => {
    const order: string[] = []
    const posted = [...taskPriorities].map(priority => noted(order, priority, { priority }))
    await scheduler.yield()
    order.push('continuation')
    await Promise.all(posted)
    expect(order).toEqual(['user-blocking', 'continuation', 'user-visible', 'background'])
  })

  test('the callback of a timer which a task has set is not that task', async () => {
    const order: string[] = []
    await new Promise<void>(resolve => {
      const outer = () => {
        setTimeout(async () => {
          const other = noted(order, 'other')
          for (let i = 0; i < 2; i++) {
            await scheduler.yield()
            order.push('continuation')
          }
          other.then(resolve)
        })
      }
      scheduler.postTask(outer, { priority: 'background' })
    })
    expect(order).toEqual(['continuation', 'continuation', 'other'])
  })

  test('where nothing else is queued it comes before the next timer', async () => {
    using _ = install() // on a clock that stands still no timer of ours comes in between
    const order: string[] = []
    await new Promise<void>(resolve => {
      setTimeout(async () => {
        await scheduler.yield()
        order.push('continuation')
      })
      setTimeout(() => {
        order.push('timer')
        resolve()
      })
    })
    expect(order).toEqual(['continuation', 'timer'])
  })

  test('a job of post that is as urgent and was there before comes first', async () => {
    const order: string[] = []
    await turn()
    post('user-visible', () => order.push('post'))
    await scheduler.yield()
    expect(order).toEqual(['post'])
  })

  test('one that does nothing else leaves the event loop its turns', async () => {
    let ended = false
    setTimeout(() => {
      ended = true
    }, 3)
    while (!ended) await scheduler.yield()
  })
})

describe('TaskController', () => {
  test('its signal is an AbortSignal, always the same one', () => {
    const controller = new TaskController({ priority: 'background' })
    const { signal } = controller
    expect(controller.signal).toBe(signal)
    expect(controller).toBeInstanceOf(AbortController)
    expect(signal).toBeInstanceOf(TaskSignal)
    expect(signal).toBeInstanceOf(AbortSignal)
    expect(signal.priority).toBe('background')
    expect(new TaskController().signal.priority).toBe('user-visible')
    const both = AbortSignal.any([signal])
    controller.abort('reason')
    expect([signal.aborted, signal.reason, both.reason]).toEqual([true, 'reason', 'reason'])
  })

  test('fetch takes its signal', async () => {
    const controller = new TaskController()
    const fetched = fetch('data:text/plain,text', { signal: controller.signal })
    controller.abort('reason')
    await expect(fetched).rejects.toBe('reason')
  })

  test('its signal is a caller, for whom changes of priority are news', () => {
    const controller = new TaskController()
    const asker = askerOf(controller.signal)
    const seen: string[] = []
    const unsubscribe = asker.onPriorityChange!(() => seen.push(asker.priority))
    controller.setPriority('background')
    unsubscribe()
    controller.setPriority('user-blocking')
    expect(seen).toEqual(['background'])
  })

  test('only the three priorities are known', () => {
    for (const priority of ['realtime', '', null, 0] as never[]) {
      expect(() => new TaskController({ priority })).toThrow(TypeError)
      expect(() => new TaskController().setPriority(priority)).toThrow(TypeError)
    }
    expect(() => new TaskController().setPriority(undefined as never)).toThrow(TypeError)
    expect(() => new TaskController(1 as never)).toThrow(TypeError)
  })

  test('setPriority in a listener of the change is a NotAllowedError, and works again afterwards', () => {
    const controller = new TaskController()
    let error: unknown
    controller.signal.onprioritychange = () => {
      try {
        controller.setPriority('user-blocking')
      } catch (thrown) {
        error = thrown
      }
    }
    controller.setPriority('background')
    expect(error).toBeInstanceOf(DOMException)
    expect(error).toHaveProperty('name', 'NotAllowedError')
    controller.setPriority('user-visible')
    expect(controller.signal.priority).toBe('user-visible')
  })

  test('tasks have moved before the first listener is called', async () => {
    const order: string[] = []
    const controller = new TaskController({ priority: 'background' })
    const first = noted(order, 'first', { signal: controller.signal })
    let second: Promise<void> | undefined
    controller.signal.onprioritychange = () => {
      second = noted(order, 'second', { priority: 'user-blocking' })
    }
    controller.setPriority('user-blocking')
    await Promise.all([first, second])
    expect(order).toEqual(['first', 'second'])
  })
})

describe('TaskSignal', () => {
  test('any aborts with each of its signals and follows the priority of one', async () => {
    const [abort, urgency] = [new AbortController(), new TaskController({ priority: 'background' })]
    const signal = TaskSignal.any([abort.signal], { priority: urgency.signal })
    const order: string[] = []
    const task = noted(order, 'task', { signal })
    const other = noted(order, 'other')
    urgency.setPriority('user-blocking')
    urgency.abort()
    await Promise.all([task, other])
    expect(order).toEqual(['task', 'other'])
    expect([signal.priority, signal.aborted]).toEqual(['user-blocking', false])
    abort.abort('reason')
    expect(signal.reason).toBe('reason')
    urgency.setPriority('user-visible')
    expect(signal.priority).toBe('user-visible')
  })

  test('dependents of dependents are told in the order of their making, after the source', () => {
    const controller = new TaskController()
    const order: number[] = []
    const first = TaskSignal.any([], { priority: controller.signal })
    const signals = [controller.signal, first, TaskSignal.any([], { priority: controller.signal })]
    signals.push(TaskSignal.any([], { priority: first }))
    for (const [i, signal] of signals.entries())
      signal.addEventListener('prioritychange', () => order.push(i))
    controller.setPriority('background')
    expect(order).toEqual([0, 1, 2, 3])
    expect(signals.map(signal => signal.priority)).toEqual(Array(4).fill('background'))
  })

  test('without a signal to follow, the priority is fixed', () => {
    expect(TaskSignal.any([]).priority).toBe('user-visible')
    const fixed = TaskSignal.any([new TaskController().signal], { priority: 'background' })
    expect(TaskSignal.any([], { priority: fixed }).priority).toBe('background')
  })

  test('any refuses what is no sequence of signals, and no priority', () => {
    for (const signals of [undefined, null, 1, 'signals', {}, [null], [{}]] as never[]) {
      expect(() => TaskSignal.any(signals)).toThrow(TypeError)
    }
    for (const priority of ['realtime', null, new AbortController().signal] as never[]) {
      expect(() => TaskSignal.any([], { priority })).toThrow(TypeError)
    }
    expect(TaskSignal.any(new Set([AbortSignal.abort('reason')])).reason).toBe('reason')
  })

  test('one that follows is kept while it is listened to, and no longer', async () => {
    const controller = new TaskController()
    const seen: string[] = []
    const listener = (event: Event) => seen.push((event.target as TaskSignal).priority)
    const kept = (() => {
      const signal = TaskSignal.any([], { priority: controller.signal })
      signal.addEventListener('prioritychange', listener)
      const handled = TaskSignal.any([], { priority: signal })
      handled.onprioritychange = listener
      return [new WeakRef(signal), new WeakRef(handled)]
    })()
    const free = (() => {
      const signal = TaskSignal.any([], { priority: controller.signal })
      signal.addEventListener('prioritychange', listener)
      signal.removeEventListener('prioritychange', listener)
      return new WeakRef(signal)
    })()
    await turn()
    gc!()
    await turn()
    gc!()
    expect(free.deref()).toBe(undefined)
    expect(kept.map(one => one.deref() !== undefined)).toEqual([true, true])
    controller.setPriority('background')
    expect(seen).toEqual(['background', 'background'])
  })

  test('onprioritychange keeps its place among the listeners when it is exchanged', () => {
    const controller = new TaskController()
    const { signal } = controller
    const order: string[] = []
    expect(signal.onprioritychange).toBe(null)
    signal.onprioritychange = () => order.push('before')
    signal.addEventListener('prioritychange', () => order.push('listener'))
    signal.onprioritychange = function (event) {
      expect(this).toBe(signal)
      expect(event).toBeInstanceOf(TaskPriorityChangeEvent)
      expect(event.previousPriority).toBe('user-visible')
      order.push('handler')
    }
    controller.setPriority('background')
    signal.onprioritychange = 'nothing' as never
    expect(signal.onprioritychange).toBe(null)
    controller.setPriority('user-visible')
    expect(order).toEqual(['handler', 'listener', 'listener'])
  })

  test('setting the priority that it has is no change', () => {
    const controller = new TaskController()
    let changes = 0
    controller.signal.onprioritychange = () => changes++
    controller.setPriority('user-visible')
    expect(changes).toBe(0)
  })
})

describe('interfaces', () => {
  test('neither a Scheduler nor a TaskSignal can be constructed', () => {
    for (const Interface of [Scheduler, TaskSignal]) {
      expect(() => Reflect.construct(Interface, [])).toThrow('Illegal constructor')
    }
  })

  test('a method of another object rejects, a getter throws', async () => {
    await expect(scheduler.postTask.call({} as never, () => {})).rejects.toThrow(TypeError)
    await expect(scheduler.yield.call(undefined as never)).rejects.toThrow(TypeError)
    expect(() => Reflect.get(TaskSignal.prototype, 'priority')).toThrow(TypeError)
    expect(() => TaskController.prototype.setPriority.call({} as never, 'background')).toThrow(TypeError)
  })

  test('members are enumerable, and each has its name for toString', () => {
    const names = (object: object) => Object.keys(object).sort()
    expect(names(Scheduler.prototype)).toEqual(['postTask', 'yield'])
    expect(names(TaskController.prototype)).toEqual(['setPriority'])
    expect(names(TaskSignal.prototype)).toEqual(['onprioritychange', 'priority'])
    expect(names(TaskSignal)).toEqual(['any'])
    expect(names(TaskPriorityChangeEvent.prototype)).toEqual(['previousPriority'])
    expect(`${scheduler}, ${new TaskController()}, ${TaskSignal.any([])}`).toBe(
      '[object Scheduler], [object TaskController], [object TaskSignal]',
    )
  })

  test('TaskSignal has the statics of AbortSignal', () => {
    expect(Object.getPrototypeOf(TaskSignal)).toBe(AbortSignal)
    expect(TaskSignal.abort('reason').reason).toBe('reason')
    expect(TaskSignal.timeout(1000)).toBeInstanceOf(AbortSignal)
  })

  test('a TaskPriorityChangeEvent needs its previous priority', () => {
    const event = new TaskPriorityChangeEvent('change', { previousPriority: 'background', bubbles: true })
    expect([event.type, event.previousPriority, event.bubbles]).toEqual(['change', 'background', true])
    for (const args of [[], ['change'], ['change', {}], ['change', { previousPriority: 'realtime' }]]) {
      expect(() => Reflect.construct(TaskPriorityChangeEvent, args)).toThrow(TypeError)
    }
  })
})

test('TaskSignal.any reads the iterator of its signals once', () => {
  let reads = 0
  const signals = [new AbortController().signal]
  const given = {
    get [Symbol.iterator]() {
      reads++
      return () => signals[Symbol.iterator]()
    },
  }
  expect(TaskSignal.any(given as never).aborted).toBe(false)
  expect(reads).toBe(1)
})
