import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Priority, priorities } from '@kiruna/priority'
import type { Contract, File, Seek } from '../contract.ts'
import { assertAllClosed, file, isWine, KiB, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'

/** Everything that changes a file, under one caller. */
function changes(
  seek: Seek,
  opened: File,
  path: string,
  caller: { priority: Priority; signal: AbortSignal },
) {
  return {
    write: () => opened.write(pattern(1000), 0, caller),
    'write of nothing': () => opened.write(Buffer.alloc(0), 0, caller),
    sync: () => opened.sync(caller),
    truncate: () => opened.truncate(3, caller),
    writeAll: () => seek.writeAll(path, 'new', caller),
    'writeAll in place': () => seek.writeAll(path, 'new', caller, { atomic: false }),
  }
}

/** A caller that aborts itself when it is asked for its priority for the `nth` time, as each step does. */
class AbortingAsker {
  asked = 0
  readonly #priority: Priority
  readonly #controller = new AbortController()
  readonly #abortsAt: number
  readonly #wait: (abort: () => void) => void
  readonly reason = new Error('enough')

  constructor(priority: Priority, abortsAt: number, wait: (abort: () => void) => void) {
    this.#priority = priority
    this.#abortsAt = abortsAt
    this.#wait = wait
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get priority(): Priority {
    if (++this.asked === this.#abortsAt) this.#wait(() => this.#controller.abort(this.reason))
    return this.#priority
  }
}

const waits: Record<string, (abort: () => void) => void> = {
  'at once': abort => abort(),
  'after what follows at once': abort => queueMicrotask(abort),
  'when it has been submitted': abort => process.nextTick(() => queueMicrotask(abort)),
  'a turn later': abort => setImmediate(abort),
}

export const writingAborted: Contract[] = [
  {
    name: 'with a signal that has aborted, everything rejects with its reason and nothing changes',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background', { flags: 'r+' })
      for (const priority of priorities) {
        const reason = new Error('enough')
        const caller = { priority, signal: AbortSignal.abort(reason) }
        for (const [name, call] of Object.entries(changes(seek, opened, path, caller))) {
          assert.equal(await rejection(call()), reason, name)
        }
        let asked = false
        const source = {
          [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
            asked = true
            throw new Error('it is not to be asked')
          },
        }
        assert.equal(await rejection(seek.writeAll(path, source, caller)), reason)
        assert.ok(!asked)
      }
      await opened.close()
      assert.equal(readFileSync(path, 'utf8'), 'content')
      assert.deepEqual(readdirSync(test.folder), ['file'])
    },
  },
  {
    name: 'what an abort finds waiting in the lane rejects at once and never starts',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const large = await seek.open(file(test, 'large', pattern(MiB)), 'user-blocking')
      const opened = await seek.open(path, 'user-blocking', { flags: 'r+' })
      for (const priority of ['user-visible', 'background'] as const) {
        await seek.stat(path, 'user-blocking') // an urgent operation: the lane is shallow now
        let done = 0
        // Four of them are less than the bytes that it admits: nothing fits beside them.
        const before = Array.from({ length: 512 }, () =>
          large.read(Buffer.alloc(128 * KiB), 0, 'background').then(() => done++),
        )
        const controller = new AbortController()
        const caller = { priority, signal: controller.signal }
        const reason = new Error('enough')
        const { 'write of nothing': _, ...waiting } = changes(seek, opened, path, caller)
        const rejections = Promise.all(Object.values(waiting).map(call => rejection(call())))
        controller.abort(reason)
        for (const rejected of await rejections) assert.equal(rejected, reason)
        assert.ok(done < before.length, 'they rejected only after what was before them')
        await Promise.all(before)
        assert.equal(readFileSync(path, 'utf8'), 'content')
        assert.deepEqual(getEventListeners(controller.signal, 'abort'), [])
      }
      await opened.close()
      await large.close()
      assert.deepEqual(readdirSync(test.folder), ['file', 'large'])
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'in flight, what has been done resolves, and what has been kept from it rejects',
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      let [resolved, rejected] = [0, 0]
      for (let round = 0; round < 240; round++) {
        const opened = await seek.open(path, 'realtime', { flags: 'r+' })
        await opened.truncate(0, 'realtime')
        await opened.write(Buffer.from('old'), 0, 'realtime')
        const controller = new AbortController()
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const reason = new Error('enough')
        const isWrite = round % 2 === 0
        const change = isWrite ? opened.write(Buffer.from('NEW'), 0, caller) : opened.truncate(1, caller)
        if (round % 3 === 1) await Promise.resolve()
        if (round % 3 === 2) await turns(round % 2)
        controller.abort(reason)
        const outcome = await change.then(
          () => 'resolved',
          error => error,
        )
        const content = readFileSync(path, 'utf8')
        if (outcome === 'resolved') {
          resolved++
          assert.equal(content, isWrite ? 'NEW' : 'o')
        } else {
          rejected++
          assert.equal(outcome, reason)
          assert.equal(content, 'old')
        }
        await turns(2)
        assert.equal(readFileSync(path, 'utf8'), content, 'it was changed after it had settled')
        await opened.close()
      }
      assert.ok(resolved > 0, `${resolved} resolved, ${rejected} rejected`)
    },
  },
  {
    name: 'an abort of a large write settles when nobody reads the memory any more, and stops between pieces',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      let stopped = 0
      for (let round = 0; round < 24; round++) {
        const opened = await seek.open(path, 'background', { flags: 'w' })
        const controller = new AbortController()
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const reason = new Error('enough')
        const buffer = Buffer.from(pattern(6 * MiB, round))
        const writing = opened.write(buffer, 0, caller)
        if (round % 3 > 0) await turns(round % 3)
        controller.abort(reason)
        const outcome = await writing.then(
          () => undefined,
          error => error,
        )
        const expected = pattern(6 * MiB, round)
        buffer.fill(0xee)
        await turns(10)
        const content = readFileSync(path)
        if (outcome === undefined) assert.equal(content.length, buffer.length)
        else assert.equal(outcome, reason)
        if (content.length < buffer.length) stopped++
        assert.ok(content.equals(expected.subarray(0, content.length)), 'it was read after it had settled')
        await opened.close()
      }
      assert.ok(stopped > 0, 'it is never stopped')
    },
  },
  {
    name: 'aborted at any step, writeAll leaves the old file if it rejects and the new if it resolves, and nothing else',
    async run(seek, test) {
      const path = file(test, 'file', pattern(700 * KiB))
      const content = [pattern(700 * KiB, 1), pattern(700 * KiB, 2)]
      let [resolved, rejected] = [0, 0]
      for (const priority of ['background', 'realtime'] as const) {
        for (const [when, wait] of Object.entries(waits)) {
          for (let nth = 1; ; nth++) {
            const asker = new AbortingAsker(priority, nth, wait)
            const before = readFileSync(path)
            const next = content.find(one => !one.equals(before))!
            let closed = true
            const source = async function* () {
              closed = false
              try {
                for (let at = 0; at < next.length; at += 300_000) yield next.subarray(at, at + 300_000)
              } finally {
                closed = true
              }
            }
            const what = `${priority}, ${nth}, ${when}`
            const outcome = await seek.writeAll(path, nth % 3 === 0 ? source() : next, asker).then(
              () => undefined,
              error => error,
            )
            assert.deepEqual(readdirSync(test.folder), ['file'], what)
            assert.ok(closed, `${what}: the iterator is open`)
            const after = readFileSync(path)
            if (outcome === undefined) {
              resolved++
              assert.ok(after.equals(next), what)
            } else {
              rejected++
              assert.equal(outcome, asker.reason, what)
              assert.ok(after.equals(before), what)
            }
            assert.deepEqual(getEventListeners(asker.signal, 'abort'), [], what)
            if (asker.asked < nth) break // it was done before
          }
        }
      }
      assert.ok(rejected > 40 && resolved > 8, `${rejected} rejected, ${resolved} resolved`)
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort does not wait for an iterator that never answers, and closes it',
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      for (const priority of priorities) {
        let returned = 0
        let asked = 0
        const source = {
          [Symbol.asyncIterator]: () => ({
            next: () =>
              asked++ === 0 ? Promise.resolve({ value: pattern(10) }) : new Promise<never>(() => {}),
            return: () => {
              returned++
              return new Promise<never>(() => {})
            },
          }),
        }
        const controller = new AbortController()
        const writing = seek.writeAll(path, source, { priority, signal: controller.signal })
        while (asked < 2) await turns(1)
        assert.equal(readdirSync(test.folder).length, 2)
        const rejected = rejection(writing)
        controller.abort('enough')
        assert.equal(await rejected, 'enough')
        assert.equal(returned, 1)
        assert.equal(readFileSync(path, 'utf8'), 'old')
        assert.deepEqual(readdirSync(test.folder), ['file'])
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort frees what waits for a reader of a FIFO: while it is opened at once, while it is full when it can be',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no mkfifo')
      const fifo = join(test.folder, 'fifo')
      execFileSync('mkfifo', [fifo])
      const controllers = [new AbortController(), new AbortController()]
      const opening = seek.writeAll(fifo, 'nobody reads', {
        priority: 'user-blocking',
        signal: controllers[0]!.signal,
      })
      const rejected = rejection(opening)
      await turns(20)
      controllers[0]!.abort('enough')
      assert.equal(await rejected, 'enough')

      const reader = openSync(fifo, 'r+')
      let isSettled = false
      const filling = rejection(
        seek.writeAll(fifo, pattern(MiB), { priority: 'user-blocking', signal: controllers[1]!.signal }),
      ).finally(() => (isSettled = true))
      await turns(20)
      assert.ok(!isSettled)
      controllers[1]!.abort('enough')
      // A thread that waits in write(2) goes on when there is room: no later than that it settles.
      const bytes = Buffer.alloc(64 * KiB)
      for (let waits = 0; waits < 200 && !isSettled; waits++) {
        await new Promise(resolve => setTimeout(resolve, 5))
        if (!isSettled && waits > 10) readSync(reader, bytes)
      }
      assert.equal(await filling, 'enough')
      closeSync(reader)
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort after the end changes nothing, and no listener stays on the signal',
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      const opened = await seek.open(path, 'background', { flags: 'r+' })
      const controller = new AbortController()
      const caller = { priority: 'background', signal: controller.signal } as const
      for (const [name, call] of Object.entries(changes(seek, opened, path, caller))) {
        if (isWine && name === 'writeAll') continue // which replaces no file that is open
        await call()
      }
      await rejection(seek.writeAll(join(test.folder, 'missing/file'), 'x', caller))
      assert.deepEqual(getEventListeners(controller.signal, 'abort'), [])
      controller.abort()
      await opened.close()
      assert.equal(readFileSync(path, 'utf8'), 'new')
      assert.equal(statSync(path).size, 3)
      assert.ok(!existsSync(join(test.folder, 'missing')))
    },
  },
  {
    name: 'an abort with null for its reason rejects with null, at any step of writeAll',
    async run(seek, test) {
      const path = join(test.folder, 'null')
      const content = pattern(6 * MiB)
      for (let round = 0; round < 24; round++) {
        const controller = new AbortController()
        const caller = { priority: 'background', signal: controller.signal } as const
        const timer = setTimeout(() => controller.abort(null), round / 2)
        const reason = await seek.writeAll(path, content, caller).then(
          () => null,
          error => error,
        )
        clearTimeout(timer)
        assert.equal(reason, null)
      }
    },
  },
]
