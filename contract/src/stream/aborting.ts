import assert from 'node:assert/strict'
import { closeSync, existsSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { priorities } from '@kiruna/priority'
import { assertAllClosed, file, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'
import { fifo, pipe, text } from './pipes.ts'

export const aborting: StreamContract[] = [
  {
    name: 'with a signal that has aborted everything rejects with its reason, and nothing is opened',
    async run(stream, test) {
      const path = file(test, 'file', 'content')
      const made = join(test.folder, 'never made')
      for (const reason of [new Error('enough'), 'a reason that is no error']) {
        for (const priority of priorities) {
          const caller = { priority, signal: AbortSignal.abort(reason) }
          assert.equal(await rejection(stream.all(path, caller)), reason)
          const iterator = stream.read(path, caller)
          assert.equal(await rejection(iterator.next()), reason)
          assert.deepEqual(await iterator.next(), { done: true, value: undefined })
          const out = stream.write(made, caller)
          assert.equal(await rejection(out.write('bytes')), reason)
          assert.equal(await rejection(out.end()), reason)
        }
      }
      assert.ok(!existsSync(made))
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort ends a pending read at once, which takes nothing, and the next reader goes on',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      for (let round = 0; round < 20; round++) {
        const controller = new AbortController()
        const reason = new Error('enough')
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        let rejected: unknown
        const next = rejection(stream.read(readFd, caller).next()).then(error => (rejected = error))
        await turns(round % 5)
        controller.abort(reason)
        await turns(2)
        assert.equal(rejected, reason)
        await next
        writeSync(writeFd, `${round}`)
        const iterator = stream.read(readFd, 'background')
        assert.equal(await text(iterator), `${round}`)
        await iterator.return!()
      }
      close()
    },
  },
  {
    name: 'an abort in the same moment as the bytes leaves them where they are',
    async run(stream, test) {
      const { readFd, writeFd, readNow, close } = pipe(test)
      const controller = new AbortController()
      const iterator = stream.read(readFd, { priority: 'background', signal: controller.signal })
      writeSync(writeFd, 'first')
      assert.equal(await text(iterator), 'first')
      const next = rejection(iterator.next())
      await turns(10) // it waits
      writeSync(writeFd, 'bytes')
      controller.abort('enough')
      assert.equal(await next, 'enough')
      await turns(5)
      // On Windows a thread looks at the pipe: what it has taken by then is the next reader's of the stream.
      const isTaken = process.platform === 'win32'
      const left = isTaken ? await text(stream.read(readFd, 'background')) : readNow()
      assert.equal(left, 'bytes')
      close()
    },
  },
  {
    name: 'an abort that races the bytes loses none',
    async run(stream, test) {
      const { readFd, writeFd, closeWriter, close } = pipe(test)
      const sent = pattern(8000)
      const got: Buffer[] = []
      let aborted = 0
      for (let round = 0; round < 400; round++) {
        const controller = new AbortController()
        const next = stream
          .read(readFd, { priority: priorities[round % 4]!, signal: controller.signal })
          .next()
        const outcome = next.then(
          ({ value }) => void got.push(value!),
          () => void aborted++,
        )
        await turns(round % 4)
        writeSync(writeFd, sent.subarray(round * 20, round * 20 + 20))
        if (round % 3 > 0) await (round % 3 === 1 ? Promise.resolve() : turns((round >> 2) % 3))
        controller.abort()
        await outcome
      }
      closeWriter()
      got.push(await stream.all(readFd, 'user-visible'))
      assert.ok(Buffer.concat(got).equals(sent))
      assert.ok(aborted > 0 && aborted < 400, `no race: ${aborted}`)
      close()
    },
  },
  {
    name: 'an abort of a borrowed file loses no bytes either',
    async run(stream, test) {
      const content = pattern(4 * MiB)
      const fd = newFd(file(test, 'file', content))
      const got: Buffer[] = []
      for (let round = 0; round < 200; round++) {
        const controller = new AbortController()
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const outcome = stream
          .read(fd, caller, { chunkBytes: 10_000 })
          .next()
          .then(
            ({ value }) => void got.push(value!),
            () => {},
          )
        await turns(round % 4)
        controller.abort()
        await outcome
      }
      got.push(await stream.all(fd, 'background'))
      assert.ok(Buffer.concat(got).equals(content))
      closeSync(fd)
    },
  },
  {
    name: 'an abort ends the wait for the other end of a FIFO, and closes it',
    async run(stream, test) {
      const path = fifo(test)
      for (const ms of [0, 5, 30]) {
        const controller = new AbortController()
        const caller = { priority: 'background' as const, signal: controller.signal }
        const out = stream.write(path, caller)
        const outcomes = [
          stream.all(fifo(test, `fifo ${ms}`), caller),
          out.write('bytes'),
          out.write('more'),
          out.end(),
        ].map(rejection)
        await setTimeout(ms)
        controller.abort('enough')
        assert.deepEqual(await Promise.all(outcomes), ['enough', 'enough', 'enough', 'enough'])
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort ends a write that waits for room, and what waits behind it at once',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      for (const priority of priorities) {
        const controller = new AbortController()
        const out = stream.write(writeFd, { priority, signal: controller.signal })
        const outcomes = [out.write(pattern(2 * MiB)), out.write('more'), out.end()].map(rejection)
        await setTimeout(5)
        controller.abort('enough')
        assert.deepEqual(await Promise.all(outcomes), ['enough', 'enough', 'enough'])
        assert.equal(await rejection(out.end()), 'enough')
        await out[Symbol.asyncDispose]() // a write has been told
      }
      // Whatever was written is a beginning of what was asked for.
      const iterator = stream.read(readFd, 'background')
      const { value } = await iterator.next()
      assert.ok(value?.equals(pattern(value.length)))
      await iterator.return!()
      close()
    },
  },
  {
    name: 'an abort of all ends it, wherever it is',
    async run(stream, test) {
      const path = fifo(test)
      const large = file(test, 'large', pattern(8 * MiB))
      for (let round = 0; round < 24; round++) {
        const controller = new AbortController()
        const caller = { priority: priorities[round % 4]!, signal: controller.signal }
        const outcomes = [stream.all(path, caller), stream.all(large, caller)].map(rejection)
        await turns(round % 6)
        controller.abort('enough')
        assert.deepEqual(await Promise.all(outcomes), ['enough', 'enough'])
      }
      await assertAllClosed(test.folder)
    },
  },
]

/** An fd that no test before has had: a read that was cancelled there may still take from whoever has its number now. */
function newFd(path: string): number {
  const fds = Array.from({ length: 100 }, () => openSync(path, 'r'))
  const fd = fds.pop()!
  for (const other of fds) closeSync(other)
  return fd
}
