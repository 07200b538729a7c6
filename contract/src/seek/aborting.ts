import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { existsSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { type Priority, priorities } from '@kiruna/priority'
import type { Contract, File, Seek } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { CountingAsker, rejection, turns } from '../outcomes.ts'

/** Every operation with a promise, under one caller. */
function operations(
  seek: Seek,
  opened: File,
  path: string,
  caller: { priority: Priority; signal: AbortSignal },
) {
  return {
    open: () => seek.open(path, caller),
    readAll: () => seek.readAll(path, caller),
    stat: () => seek.stat(path, caller),
    readdir: () => seek.readdir(join(path, '..'), caller),
    read: () => opened.read(Buffer.alloc(1000), 0, caller),
    fstat: () => opened.stat(caller),
    chunks: async () => {
      for await (const { bytes } of opened.chunks(caller)) assert.ok(bytes.length > 0)
    },
    readMany: async () => {
      for await (const { bytes } of seek.readMany([path], caller)) assert.ok(bytes)
    },
  }
}

/** Fills the lane: what is asked for after it, below user-blocking, has to wait. */
async function flood(seek: Seek, opened: File, path: string) {
  await seek.stat(path, 'user-blocking') // an urgent operation: the lane is shallow now
  let done = 0
  // Four of them are less than the bytes that it admits: nothing fits beside them, not even an open.
  const reads = Array.from({ length: 512 }, () =>
    opened.read(Buffer.alloc(128 * KiB), 0, 'background').then(() => done++),
  )
  // Calls by path have an account of their own.
  const stats = Array.from({ length: 64 }, () => seek.stat(path, 'background'))
  return { all: Promise.all([...reads, ...stats]), isOver: () => done === reads.length }
}

export const aborting: Contract[] = [
  {
    name: 'with a signal that has aborted, everything rejects with its reason and nothing starts',
    async run(seek, test) {
      const path = file(test, 'file', pattern(5000))
      const opened = await seek.open(path, 'background')
      for (const reason of [new Error('enough'), 'a reason that is no error']) {
        for (const priority of priorities) {
          const caller = { priority, signal: AbortSignal.abort(reason) }
          for (const [name, call] of Object.entries(operations(seek, opened, path, caller))) {
            assert.equal(await rejection(call()), reason, `${name}, ${priority}`)
          }
          const made = join(test.folder, 'never made')
          assert.equal(await rejection(seek.open(made, caller, { flags: 'w' })), reason)
          assert.ok(!existsSync(made))
        }
      }
      await opened.close() // it waits for what was counted
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort stops what is read in pieces',
    async run(seek, test) {
      const path = file(test, 'large', '')
      truncateSync(path, 128 * MiB)
      for (const priority of ['user-visible', 'background'] as const) {
        const opened = await seek.open(path, 'background')
        const controller = new AbortController()
        const caller = new CountingAsker(priority, controller.signal)
        const buffer = Buffer.alloc(8 * MiB, 0xee)
        const rejections = [seek.readAll(path, caller), opened.read(buffer, 0, caller)].map(rejection)
        await turns(4)
        controller.abort('enough')
        assert.deepEqual(await Promise.all(rejections), ['enough', 'enough'])
        const askedUntilNow = caller.asked
        await opened.close()
        await assertAllClosed(test.folder)
        assert.equal(caller.asked, askedUntilNow, 'it reads on')
        assert.equal(buffer[buffer.length - 1], 0xee, 'it has read on to the end')
      }
    },
  },
  {
    name: 'what an abort finds waiting in the lane rejects at once and never starts',
    async run(seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const opened = await seek.open(path, 'background')
      for (const priority of ['user-visible', 'background'] as const) {
        const before = await flood(seek, opened, path)
        const controller = new AbortController()
        const caller = { priority, signal: controller.signal }
        const made = Array.from({ length: 20 }, (_, index) => join(test.folder, `${priority} ${index}`))
        const buffer = Buffer.alloc(5000, 0xee)
        const reason = new Error('enough')
        const waiting = [
          ...made.map(path => seek.open(path, caller, { flags: 'w' })),
          opened.read(buffer, 0, caller),
          ...Object.values(operations(seek, opened, path, caller)).map(call => call()),
        ]
        const rejections = Promise.all(waiting.map(rejection))
        controller.abort(reason)
        for (const rejected of await rejections) assert.equal(rejected, reason)
        assert.ok(!before.isOver(), 'they rejected only after what was before them')
        await before.all
        assert.deepEqual(made.filter(existsSync), [])
        assert.deepEqual(buffer, Buffer.alloc(5000, 0xee))
      }
      await opened.close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'in flight, where the library owns the memory, an abort rejects at once and leaks nothing',
    async run(seek, test) {
      const small = file(test, 'small', pattern(5000))
      const large = file(test, 'large', '')
      truncateSync(large, 128 * MiB)
      const opened = await seek.open(small, 'background')
      for (let round = 0; round < 12; round++) {
        const controller = new AbortController()
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const reason = new Error('enough')
        let pending = 0
        const rejections: Promise<unknown>[] = []
        const begin = (promise: Promise<unknown>) => {
          pending++
          rejections.push(rejection(promise).finally(() => pending--))
        }
        begin(seek.readAll(large, caller))
        // In pieces, of which each takes a turn at least, it is under way all the while.
        if (round % 4 > 1) await turns(round)
        const { read: _, chunks: __, ...owning } = operations(seek, opened, small, caller)
        for (const call of Object.values(owning)) begin(call())
        controller.abort(reason)
        await turns(2)
        assert.equal(pending, 0, 'they wait for the OS')
        for (const rejected of await Promise.all(rejections)) assert.equal(rejected, reason)
      }
      await opened.close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: "in flight, where the memory is the caller's, an abort rejects when nobody writes into it any more",
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', pattern(4 * MiB)), 'background')
      const marked = Buffer.alloc(4 * MiB, 0xee)
      for (let round = 0; round < 24; round++) {
        const controller = new AbortController()
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const reason = new Error('enough')
        const buffer = Buffer.alloc(4 * MiB)
        const rejected = rejection(opened.read(buffer, 0, caller))
        if (round % 3 > 0) await Promise.resolve()
        controller.abort(reason)
        assert.equal(await rejected, reason)
        marked.copy(buffer)
        await turns(20)
        assert.ok(buffer.equals(marked), 'it was written into after its promise had settled')
      }
      await opened.close()
    },
  },
  {
    name: 'an abort that races the completion gives one or the other, and leaks nothing',
    async run(seek, test) {
      const content = pattern(40_000)
      const path = file(test, 'file', content)
      const opened = await seek.open(path, 'background')
      let [resolved, aborted] = [0, 0]
      for (let round = 0; round < 400; round++) {
        const controller = new AbortController()
        const reason = new Error('enough')
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const buffer = Buffer.alloc(1000)
        const outcomes = Promise.allSettled([
          seek.open(path, caller).then(file => file.close()),
          seek.readAll(path, caller).then(bytes => assert.ok(bytes.equals(content))),
          seek.stat(path, caller).then(({ size }) => assert.equal(size, content.length)),
          opened.read(buffer, 500, caller).then(bytes => {
            assert.equal(bytes, 1000)
            assert.ok(buffer.equals(content.subarray(500, 1500)))
          }),
        ])
        await turns(round % 13)
        if (round % 2 === 0) await Promise.resolve()
        controller.abort(reason)
        for (const outcome of await outcomes) {
          if (outcome.status === 'fulfilled') resolved++
          else {
            assert.equal(outcome.reason, reason)
            aborted++
          }
        }
      }
      assert.ok(resolved > 0 && aborted > 0, `no race: ${resolved} resolved, ${aborted} aborted`)
      await opened.close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort after the end changes nothing, and no listener stays on the signal',
    async run(seek, test) {
      const path = file(test, 'file', pattern(5000))
      const opened = await seek.open(path, 'background')
      const controller = new AbortController()
      const caller = { priority: 'background', signal: controller.signal } as const
      const { open, ...others } = operations(seek, opened, path, caller)
      const later = await open()
      await Promise.all(Object.values(others).map(call => call()))
      await rejection(seek.readAll(join(test.folder, 'missing'), caller))
      await rejection(opened.read(Buffer.alloc(1), -1, caller))
      assert.deepEqual(getEventListeners(controller.signal, 'abort'), [])
      controller.abort()
      const buffer = Buffer.alloc(10)
      assert.equal(await later.read(buffer, 0, 'background'), 10) // a file outlives the signal it was opened with
      await Promise.all([later.close(), opened.close()])
      await assertAllClosed(test.folder)
    },
  },
]
