import assert from 'node:assert/strict'
import { closeSync, constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { priorities } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { assertAllClosed, file, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'
import { fifo, pipe, sha256, take, withProgram } from './pipes.ts'

export const writing: StreamContract[] = [
  {
    name: 'a file is made, written in order at each priority, and closed',
    async run(stream, test) {
      for (const priority of priorities) {
        const path = join(test.folder, priority)
        const out = stream.write(path, priority)
        const writes = [
          out.write('a string, ä'),
          out.write(pattern(3 * MiB)),
          out.write(''),
          out.write('end'),
        ]
        await out.end()
        assert.deepEqual(await Promise.all(writes), [undefined, undefined, undefined, undefined])
        const expected = Buffer.concat([Buffer.from('a string, ä'), pattern(3 * MiB), Buffer.from('end')])
        assert.equal(sha256(readFileSync(path)), sha256(expected))
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'flags are those of node:fs: w cuts off, a appends, wx refuses, numbers do too',
    async run(stream, test) {
      const path = file(test, 'file', 'what was there before')
      const put = async (text: string, flags?: string | number) => {
        await using out = stream.write(path, 'background', flags === undefined ? {} : { flags })
        await out.write(text)
      }
      await put('new')
      assert.equal(readFileSync(path, 'utf8'), 'new')
      await put(' and more', 'a')
      await put('!', constants.O_WRONLY | constants.O_APPEND)
      assert.equal(readFileSync(path, 'utf8'), 'new and more!')
      await put('N', 'r+')
      assert.equal(readFileSync(path, 'utf8'), 'New and more!')
      assert.equal((await rejection(put('x', 'wx'))).code, 'EEXIST')
      await stream.write(path, 'background').end() // without a write
      assert.equal(readFileSync(path, 'utf8'), '')
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a borrowed file is written where it stands, and stays open',
    async run(stream, test) {
      const path = join(test.folder, 'file')
      const fd = openSync(path, 'w')
      writeSync(fd, 'one ')
      const out = stream.write(fd, 'background')
      await out.write('two ')
      await out.end()
      writeSync(fd, 'three')
      assert.equal(readFileSync(path, 'utf8'), 'one two three')
      assert.ok(fstatSync(fd).isFile())
      closeSync(fd)
    },
  },
  {
    name: 'a write to a pipe resolves when all of it has gone in, not before',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      const out = stream.write(writeFd, 'background')
      const sent = [pattern(3 * MiB), pattern(1000, 1), pattern(MiB, 2)]
      const done: number[] = []
      const writes = sent.map((bytes, index) => out.write(bytes).then(() => done.push(index)))
      await setTimeout(20)
      assert.deepEqual(done, [])
      const iterator = stream.read(readFd, 'background')
      const taken = await take(
        iterator,
        sent.reduce((sum, { length }) => sum + length, 0),
      )
      assert.equal(sha256(taken), sha256(...sent))
      await Promise.all(writes)
      assert.deepEqual(done, [0, 1, 2])
      await out.end()
      await iterator.return!()
      close()
    },
  },
  {
    name: 'a program at the other end of a FIFO gets megabytes as they were',
    async run(stream, test) {
      const [path, copy] = [fifo(test), join(test.folder, 'copy')]
      const content = Buffer.concat(Array.from({ length: 4 }, (_, seed) => pattern(4 * MiB, seed)))
      await withProgram('sh', ['-c', `cat '${path}' > '${copy}'`], async child => {
        const exit = new Promise(resolve => child.once('exit', resolve))
        const out = stream.write(path, 'user-visible')
        await out.write(content)
        await out.end()
        await exit
        assert.equal(sha256(readFileSync(copy)), sha256(content))
      })
    },
  },
  {
    name: 'a FIFO that nobody reads is waited for',
    async run(stream, test) {
      const path = fifo(test)
      const out = stream.write(path, 'background')
      let written = false
      const write = out.write('bytes').then(() => (written = true))
      await setTimeout(60)
      assert.ok(!written)
      await withProgram('sh', ['-c', `exec sleep 5 < '${path}'`], async () => {
        await write
        await out.end()
      })
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'EPIPE is the answer to that write, to all that follow, and to the end',
    async run(stream, test) {
      for (const begin of ['before', 'meanwhile'] as const) {
        const { writeFd, closeReader, close } = pipe(test, { name: begin })
        if (begin === 'before') closeReader()
        const out = stream.write(writeFd, 'background')
        const outcomes = [out.write(pattern(MiB)), out.write('more')].map(rejection)
        await setTimeout(20)
        closeReader()
        const [first, second] = await Promise.all(outcomes)
        assert.deepEqual([first!.code, first!.errno, first!.syscall], ['EPIPE', errnoOf('EPIPE'), 'write'])
        assert.equal(second, first)
        assert.equal(await rejection(out.write('late')), first)
        assert.equal(await rejection(out.end()), first)
        await out[Symbol.asyncDispose]()
        assert.ok(!fstatSync(writeFd).isFile()) // it is open
        close()
      }
    },
  },
  {
    name: 'a device that is full says ENOSPC',
    async run(stream, test) {
      const out = stream.write('/dev/full', 'background')
      const error = await rejection(out.write('bytes'))
      if (error.code === 'ENOENT' || error.code === 'EACCES') return test.skip('there is no /dev/full')
      assert.deepEqual([error.code, error.syscall, error.path], ['ENOSPC', 'write', '/dev/full'])
      assert.equal(await rejection(out.end()), error)
      const nowhere = stream.write('/dev/null', 'background')
      await nowhere.write(pattern(MiB))
      await nowhere.end()
    },
  },
  {
    name: 'the end waits for all, comes once, and nothing is written after it',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      const out = stream.write(writeFd, 'background')
      const order: string[] = []
      void out.write(pattern(MiB)).then(() => order.push('write'))
      const end = out.end().then(() => order.push('end'))
      const late = rejection(out.write('late'))
      assert.equal((await late).code, 'ERR_STREAM_WRITE_AFTER_END')
      const iterator = stream.read(readFd, 'background')
      await take(iterator, MiB)
      await end
      assert.deepEqual(order, ['write', 'end'])
      await out.end()
      await out[Symbol.asyncDispose]()
      assert.equal((await rejection(out.write('late'))).code, 'ERR_STREAM_WRITE_AFTER_END')
      await iterator.return!()
      close()
    },
  },
  {
    name: 'disposing is the end, and throws what no write has been told',
    async run(stream, test) {
      const path = join(test.folder, 'file')
      {
        await using out = stream.write(path, 'background')
        void out.write('bytes')
      }
      assert.equal(readFileSync(path, 'utf8'), 'bytes')
      const never = stream.write(join(test.folder, 'no folder', 'file'), 'background')
      assert.equal((await rejection(never[Symbol.asyncDispose]() as Promise<void>)).code, 'ENOENT')
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a write that has resolved is there for others to see, and its bytes are the caller’s again',
    async run(stream, test) {
      const path = join(test.folder, 'file')
      const out = stream.write(path, 'background')
      const bytes = new Uint8Array(70_000).fill(1)
      for (const value of [1, 2, 3]) {
        await out.write(bytes.fill(value))
        assert.equal(readFileSync(path).at(-1), value)
      }
      await turns(2)
      await out.end()
      assert.deepEqual([...new Set(readFileSync(path))], [1, 2, 3])
    },
  },
]
