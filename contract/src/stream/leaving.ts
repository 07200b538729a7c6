import assert from 'node:assert/strict'
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { assertAllClosed, file, pattern } from '../files.ts'
import { turns } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'
import { fifo, isNonblocking, pipe, take, text } from './pipes.ts'

export const leaving: StreamContract[] = [
  {
    name: 'leaving the loop leaves the rest in the pipe, for another loop and for anybody',
    async run(stream, test) {
      const { readFd, writeFd, readNow, closeWriter, close } = pipe(test)
      writeSync(writeFd, 'abcdefgh')
      for await (const bytes of stream.read(readFd, 'background', { chunkBytes: 2 })) {
        assert.equal(String(bytes), 'ab')
        break
      }
      for await (const bytes of stream.read(readFd, 'realtime', { chunkBytes: 3 })) {
        assert.equal(String(bytes), 'cde')
        break
      }
      await turns(5)
      assert.equal(readNow(2), 'fg')
      closeWriter()
      assert.equal(String(await stream.all(readFd, 'user-visible')), 'h')
      assert.ok(!fstatSync(readFd).isFile()) // it is open
      close()
    },
  },
  {
    name: 'and so it does with a file',
    async run(stream, test) {
      const content = pattern(5000)
      const fd = openSync(file(test, 'file', content), 'r')
      for (let at = 0; at < 3000; at += 1000) {
        for await (const bytes of stream.read(fd, 'background', { chunkBytes: 1000 })) {
          assert.ok(bytes.equals(content.subarray(at, at + 1000)))
          break
        }
      }
      assert.ok((await stream.all(fd, 'background')).equals(content.subarray(3000)))
      closeSync(fd)
    },
  },
  {
    name: 'the flags of a borrowed fd are as they were',
    async run(stream, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows the flags of an fd')
      for (const nonblocking of [false, true]) {
        const { readFd, writeFd, close } = pipe(test, { isNonblocking: nonblocking, name: `${nonblocking}` })
        const iterator = stream.read(readFd, 'background')
        const pending = text(iterator)
        const out = stream.write(writeFd, 'background')
        await turns(5)
        await out.write('x')
        assert.equal(await pending, 'x')
        await iterator.return!()
        await out.end()
        await turns(5)
        assert.deepEqual([isNonblocking(readFd), isNonblocking(writeFd)], [nonblocking, nonblocking])
        close()
      }
    },
  },
  {
    name: 'a return ends a pending read, which takes nothing',
    async run(stream, test) {
      const { readFd, writeFd, readNow, close } = pipe(test)
      for (let round = 0; round < 30; round++) {
        const iterator = stream.read(readFd, 'user-visible')
        const next = iterator.next()
        await turns(round % 4)
        const returned = iterator.return!()
        assert.deepEqual(await returned, { done: true, value: undefined })
        assert.deepEqual(await next, { done: true, value: undefined })
        assert.deepEqual(await iterator.next(), { done: true, value: undefined })
      }
      writeSync(writeFd, 'all of it')
      await turns(5)
      assert.equal(readNow(), 'all of it')
      close()
    },
  },
  {
    name: 'a return that races the bytes loses none',
    async run(stream, test) {
      const { readFd, writeFd, closeWriter, close } = pipe(test)
      const sent = pattern(6000)
      const got: Buffer[] = []
      let raced = 0
      for (let round = 0; round < 300; round++) {
        const iterator = stream.read(readFd, 'user-visible', { chunkBytes: 15 })
        const next = iterator.next()
        await turns(round % 5)
        writeSync(writeFd, sent.subarray(round * 20, round * 20 + 20))
        if (round % 3 > 0) await (round % 3 === 1 ? Promise.resolve() : turns(round % 2))
        await iterator.return!()
        const { done, value } = await next
        if (!done) {
          got.push(value)
          raced++
        }
      }
      closeWriter()
      got.push(await stream.all(readFd, 'user-visible'))
      assert.ok(Buffer.concat(got).equals(sent))
      assert.ok(raced > 0)
      close()
    },
  },
  {
    name: 'two readers of one fd take turns, each byte goes to one of them',
    async run(stream, test) {
      const { readFd, writeFd, closeWriter, close } = pipe(test)
      const iterators = [1, 2].map(() => stream.read(readFd, 'user-visible', { chunkBytes: 3 }))
      const [one, two] = iterators.map(iterator => text(iterator))
      await turns(5)
      writeSync(writeFd, 'abc')
      assert.equal(await one, 'abc')
      const three = text(iterators[0]!)
      writeSync(writeFd, 'defghi')
      assert.equal(await two, 'def')
      assert.equal(await three, 'ghi')
      closeWriter()
      assert.deepEqual(await Promise.all(iterators.map(text)), [undefined, undefined])
      close()
    },
  },
  {
    name: 'the second of two readers goes on when the first one leaves',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      const [first, second] = [stream.read(readFd, 'background'), stream.read(readFd, 'background')]
      const [one, two] = [text(first), text(second)]
      await turns(5)
      await first.return!()
      assert.equal(await one, undefined)
      writeSync(writeFd, 'bytes')
      assert.equal(await two, 'bytes')
      await second.return!()
      close()
    },
  },
  {
    name: 'leaving closes a path, also while it is waited for',
    async run(stream, test) {
      const path = fifo(test)
      const iterator = stream.read(path, 'background')
      const next = text(iterator)
      await setTimeout(20)
      await iterator.return!()
      assert.equal(await next, undefined)
      const content = pattern(100_000)
      for await (const bytes of stream.read(file(test, 'file', content), 'background')) {
        assert.ok(bytes.length > 0)
        break
      }
      const early = stream.read(path, 'background')
      const opening = text(early)
      await early.return!()
      assert.equal(await opening, undefined)
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'readers of two pipes do not wait for one another',
    async run(stream, test) {
      const pipes = Array.from({ length: 20 }, (_, index) => pipe(test, { name: `${index}` }))
      const iterators = pipes.map(({ readFd }) => stream.read(readFd, 'background'))
      const pending = iterators.map(text)
      await turns(5)
      for (const [index, { writeFd }] of [...pipes.entries()].reverse()) {
        writeSync(writeFd, `${index}`)
        assert.equal(await pending[index], `${index}`)
      }
      for (const iterator of iterators) assert.equal((await iterator.return!()).done, true)
      for (const { close } of pipes) close()
    },
  },
  {
    name: 'bytes that came with the end are taken before it',
    async run(stream, test) {
      const { readFd, writeFd, closeWriter, close } = pipe(test)
      const iterator = stream.read(readFd, 'user-visible', { chunkBytes: 7 })
      const sent = pattern(7 * 100)
      const taken = take(iterator, sent.length)
      writeSync(writeFd, sent)
      closeWriter()
      assert.ok((await taken).equals(sent))
      assert.equal(await text(iterator), undefined)
      close()
    },
  },
]
