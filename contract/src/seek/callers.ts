import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { limit, type Priority } from '@kiruna/priority'
import type { Contract } from '../contract.ts'
import { file, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'

/** A task of a scheduler, as a library sees it. */
class Asker {
  priority: Priority
  readonly signal: AbortSignal | undefined
  readonly jobs: (() => void)[] = []
  readonly listeners = new Set<() => void>()

  constructor(priority: Priority, signal?: AbortSignal) {
    this.priority = priority
    this.signal = signal
  }

  deliver(job: () => void): void {
    this.jobs.push(job)
  }

  onPriorityChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  raise(priority: Priority): void {
    this.priority = priority
    for (const listener of this.listeners) listener()
  }
}

export const callers: Contract[] = [
  {
    name: 'a completion is delivered when its caller says so, once for each operation',
    async run(seek, test) {
      const path = file(test, 'file', pattern(100_000))
      const asker = new Asker('user-visible')
      const opened = await seek.open(path, 'user-visible')
      const settled: string[] = []
      const all = Promise.all(
        Object.entries({
          open: seek.open(path, asker).then(file => file.close()),
          readAll: seek.readAll(path, asker),
          stat: seek.stat(path, asker),
          readdir: seek.readdir(test.folder, asker),
          missing: rejection(seek.readAll(`${path}.missing`, asker)),
          read: opened.read(Buffer.alloc(100_000), 0, asker),
          fstat: opened.stat(asker),
        }).map(([name, promise]) => promise.then(() => settled.push(name))),
      )
      while (asker.jobs.length < 7) await turns(1)
      await turns(50)
      assert.equal(asker.jobs.length, 7, 'something was delivered twice')
      assert.deepEqual(settled, [], 'a promise has not waited for its turn')
      for (const job of asker.jobs.splice(0)) job()
      await all
      assert.equal(settled.length, 7)
      assert.equal(asker.jobs.length, 0)
      await opened.close()
    },
  },
  {
    name: 'one caller that is paused holds back nobody else',
    async run(seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const paused = new Asker('background')
      const waiting = Array.from({ length: 10 }, () => seek.readAll(path, paused))
      for (let read = 0; read < 30; read++) {
        assert.equal((await seek.readAll(path, 'background')).length, MiB)
      }
      while (paused.jobs.length < 10) await turns(1)
      for (const job of paused.jobs) job()
      for (const bytes of await Promise.all(waiting)) assert.equal(bytes.length, MiB)
    },
  },
  {
    name: 'a caller that is raised overtakes what waits, and is listened to only while it waits',
    async run(seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const opened = await seek.open(path, 'user-blocking')
      for (const priority of ['user-blocking', 'realtime'] as const) {
        let done = 0
        const flood = Array.from({ length: 64 }, () =>
          opened.read(Buffer.alloc(MiB), 0, 'background').then(() => done++),
        )
        const asker = new Asker('background')
        const read = opened.read(Buffer.alloc(1000), 0, asker)
        assert.equal(asker.listeners.size, 1)
        asker.raise(priority)
        while (asker.jobs.length === 0) await turns(1)
        assert.ok(done < 64, 'it was read in its old place')
        assert.equal(asker.listeners.size, 0)
        asker.jobs[0]!()
        assert.equal(await read, 1000)
        await Promise.all(flood)
      }
      await opened.close()
    },
  },
  {
    name: 'an abort ends the listening as well',
    async run(seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const opened = await seek.open(path, 'user-blocking')
      const flood = [
        ...Array.from({ length: 64 }, () => opened.read(Buffer.alloc(MiB), 0, 'background')),
        ...Array.from({ length: 16 }, () => seek.readAll(path, 'background')),
      ]
      const controller = new AbortController()
      const asker = new Asker('background', controller.signal)
      const reads = [seek.readAll(path, asker), opened.read(Buffer.alloc(10), 0, asker)].map(rejection)
      assert.equal(asker.listeners.size, 2)
      controller.abort()
      assert.equal(asker.listeners.size, 0)
      while (asker.jobs.length < 2) await turns(1)
      for (const job of asker.jobs) job()
      for (const rejected of await Promise.all(reads)) assert.equal(rejected, controller.signal.reason)
      await Promise.all(flood)
      await opened.close()
    },
  },
  {
    name: 'limit lowers a caller, and its signal cancels',
    async run(seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const opened = await seek.open(path, 'user-blocking')
      const flood = Array.from({ length: 64 }, () => opened.read(Buffer.alloc(MiB), 0, 'background'))
      const order: string[] = []
      const lowered = limit('realtime', { atMost: 'background' })
      const last = opened.read(Buffer.alloc(100), 0, lowered).then(() => order.push('lowered'))
      const first = opened
        .read(Buffer.alloc(100), 0, limit('realtime', {}))
        .then(() => order.push('realtime'))
      await Promise.all([last, first, ...flood])
      assert.deepEqual(order, ['realtime', 'lowered'])

      const [outer, inner] = [new AbortController(), new AbortController()]
      const limited = limit({ priority: 'background', signal: outer.signal }, { signal: inner.signal })
      const rejected = rejection(seek.readAll(path, limited))
      inner.abort('inner')
      assert.equal(await rejected, 'inner')
      assert.equal(await rejection(seek.readAll(path, limited)), 'inner')
      await opened.close()
    },
  },
  {
    name: 'a limited caller is delivered when its own turn comes',
    async run(seek, test) {
      const path = file(test, 'file', pattern(100))
      const asker = new Asker('user-blocking')
      let settled = false
      const read = seek.readAll(path, limit(asker, { atMost: 'background' })).then(() => (settled = true))
      while (asker.jobs.length < 1) await turns(1)
      await turns(5)
      assert.ok(!settled)
      asker.jobs[0]!()
      await read
    },
  },
  {
    name: "a TaskSignal of the web's scheduler is a caller",
    async run(seek, test) {
      const path = file(test, 'file', pattern(5000))
      const controller = new AbortController()
      const signal = Object.assign(controller.signal, { priority: 'user-visible' as Priority })
      const opened = await seek.open(path, signal)
      assert.equal((await seek.readAll(path, signal)).length, 5000)
      assert.equal(await opened.read(Buffer.alloc(10), 0, signal), 10)

      const flood = Array.from({ length: 64 }, () => opened.read(Buffer.alloc(MiB), 0, 'background'))
      let done = 0
      for (const read of flood) void read.then(() => done++)
      signal.priority = 'background'
      const raised = opened.read(Buffer.alloc(10), 0, signal)
      signal.priority = 'realtime'
      signal.dispatchEvent(new Event('prioritychange'))
      assert.equal(await raised, 10)
      assert.ok(done < 64, 'it was read in its old place')
      await Promise.all(flood)

      const rejected = rejection(seek.readAll(path, signal))
      controller.abort('enough')
      assert.equal(await rejected, 'enough')
      await opened.close()
    },
  },
  {
    name: 'of the completions that come together, the most urgent is delivered first',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', pattern(5000)), 'user-blocking')
      const asked: Priority[] = ['background', 'user-visible', 'user-blocking', 'realtime']
      const order: Priority[] = []
      const reads = asked.map(async priority => {
        await opened.read(Buffer.alloc(4096), 0, priority)
        order.push(priority)
      })
      // The thread is busy meanwhile, after whatever is handed over at the end of the tick: all four complete.
      process.nextTick(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200))
      await Promise.all(reads)
      assert.deepEqual(order, asked.reverse())
      await opened.close()
    },
  },
  {
    name: 'background callers that wait for something slow hold up no urgent one',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no mkfifo')
      const path = file(test, 'file', pattern(5000))
      const fifo = join(test.folder, 'fifo')
      execFileSync('mkfifo', [fifo])
      // The open of a pipe that nobody writes to does not return: more of them than libuv has threads.
      const slow = Array.from({ length: 12 }, () => seek.open(fifo, 'background'))
      try {
        for (const priority of ['user-blocking', 'realtime'] as const) {
          const late = setTimeout(5000, 'it waits for the background', { ref: false })
          const bytes = await Promise.race([seek.readAll(path, priority), late])
          assert.equal(bytes.length, 5000, `${bytes}`)
        }
      } finally {
        const writer = openSync(fifo, 'r+')
        for (const opened of await Promise.all(slow)) await opened.close()
        closeSync(writer)
      }
    },
  },
  {
    name: 'within a priority the first asked is the first delivered',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'content'), 'user-blocking')
      const order: number[] = []
      const indices = Array.from({ length: 20 }, (_, index) => index)
      await Promise.all(
        indices.map(async index => {
          await opened.read(Buffer.alloc(0), 0, 'background')
          order.push(index)
        }),
      )
      assert.deepEqual(order, indices)
      await opened.close()
    },
  },
]
