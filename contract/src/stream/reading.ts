import assert from 'node:assert/strict'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { priorities } from '@kiruna/priority'
import { assertAllClosed, file, KiB, MiB, openIn, pattern } from '../files.ts'
import { turns } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'
import { fifo, pipe, sha256, text, withProgram } from './pipes.ts'

export const reading: StreamContract[] = [
  {
    name: 'a file comes whole, at each priority and by each form of its path, and is closed',
    async run(stream, test) {
      const content = pattern(3 * MiB + 7)
      const path = file(test, 'file', content)
      for (const priority of priorities) {
        const pieces = []
        for await (const bytes of stream.read(path, priority)) {
          assert.ok(bytes.length > 0 && bytes.length <= 64 * KiB)
          pieces.push(bytes)
        }
        assert.ok(Buffer.concat(pieces).equals(content))
        for (const form of [path, Buffer.from(path), pathToFileURL(path)]) {
          assert.ok((await stream.all(form, priority)).equals(content))
        }
      }
      assert.deepEqual(await stream.all(file(test, 'empty', ''), 'background'), Buffer.alloc(0))
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'of a file no read takes more than chunkBytes, and below user-blocking none more than 256 KiB',
    async run(stream, test) {
      const content = pattern(3 * MiB)
      const path = file(test, 'file', content)
      for (const [priority, chunkBytes, expected] of [
        ['background', 1000, 1000],
        ['background', 2 * MiB, 256 * KiB],
        ['user-visible', 2 * MiB, 256 * KiB],
        ['user-blocking', 2 * MiB, 2 * MiB],
      ] as const) {
        const iterator = stream.read(path, priority, { chunkBytes })
        for (let at = 0; at < 2; at++) {
          const { value } = await iterator.next()
          const from = at * expected
          assert.ok(value?.equals(content.subarray(from, Math.min(from + expected, content.length))))
        }
        await iterator.return!()
      }
    },
  },
  {
    name: 'a borrowed file is read from where it stands to where it ends, and stays open',
    async run(stream, test) {
      const content = pattern(200_000)
      const fd = openSync(file(test, 'file', content), 'r')
      readSync(fd, Buffer.alloc(1000))
      assert.ok((await stream.all(fd, 'background')).equals(content.subarray(1000)))
      assert.equal(readSync(fd, Buffer.alloc(10)), 0)
      assert.equal((await stream.all(fd, 'background')).length, 0)
      closeSync(fd)
    },
  },
  {
    name: 'a file of /proc, whose size is 0, comes whole',
    async run(stream, test) {
      if (process.platform !== 'linux' || !existsSync('/proc/version')) return test.skip('there is no /proc')
      assert.deepEqual(await stream.all('/proc/version', 'background'), readFileSync('/proc/version'))
      assert.ok((await stream.all('/proc/self/maps', 'user-visible')).length > 1000)
    },
  },
  {
    name: 'a device gives as much as is asked for, and /dev/null nothing',
    async run(stream, test) {
      if (process.platform === 'win32') return test.skip('Windows has no /dev')
      let zeros = 0
      for await (const bytes of stream.read('/dev/zero', 'background', { chunkBytes: 10_000 })) {
        assert.ok(bytes.every(byte => byte === 0))
        zeros += bytes.length
        if (zeros >= 50_000) break
      }
      assert.equal(zeros, 50_000)
      const random = stream.read('/dev/urandom', 'background', { chunkBytes: 32 })
      const [one, two] = [(await random.next()).value!, (await random.next()).value!]
      assert.deepEqual([one.length, two.length, one.equals(two)], [32, 32, false])
      await random.return!()
      assert.equal((await stream.all('/dev/null', 'background')).length, 0)
    },
  },
  {
    name: 'a pipe gives what is in it, one byte at a time too, and ends when its writers have gone',
    async run(stream, test) {
      for (const isNonblocking of [false, true]) {
        const { readFd, writeFd, closeWriter, close } = pipe(test, {
          isNonblocking,
          name: `${isNonblocking}`,
        })
        const iterator = stream.read(readFd, 'user-visible')
        for (const letter of 'letters') {
          const next = text(iterator)
          if (letter === 't') await setTimeout(10) // it waits already
          writeSync(writeFd, letter)
          assert.equal(await next, letter)
        }
        writeSync(writeFd, 'the rest')
        closeWriter()
        assert.equal(await text(iterator), 'the rest')
        assert.equal(await text(iterator), undefined)
        assert.equal(await text(iterator), undefined)
        close()
      }
    },
  },
  {
    name: 'a pipe whose writers had gone before is at its end',
    async run(stream, test) {
      const { readFd, writeFd, closeWriter, close } = pipe(test)
      writeSync(writeFd, 'left')
      closeWriter()
      assert.equal(String(await stream.all(readFd, 'background')), 'left')
      assert.equal((await stream.all(readFd, 'background')).length, 0)
      close()
    },
  },
  {
    name: 'nothing is read before it is asked for',
    async run(stream, test) {
      const { readFd, writeFd, readNow, close } = pipe(test)
      writeSync(writeFd, '12345')
      const iterator = stream.read(readFd, 'user-visible', { chunkBytes: 2 })
      await turns(20)
      assert.equal(readNow(1), '1')
      assert.equal(await text(iterator), '23')
      await turns(20)
      assert.equal(readNow(1), '4')
      assert.equal(await text(iterator), '5')
      await iterator.return!()
      close()

      await assertAllClosed(test.folder)
      const path = fifo(test)
      stream.read(path, 'background') // not opened either
      await turns(20)
      assert.deepEqual(openIn(test.folder), [])
    },
  },
  {
    name: 'several reads asked for at once come in order',
    async run(stream, test) {
      const { readFd, writeFd, closeWriter, close } = pipe(test)
      const iterator = stream.read(readFd, 'user-visible', { chunkBytes: 1 })
      const asked = [1, 2, 3, 4].map(() => text(iterator))
      await turns(5)
      writeSync(writeFd, 'abc')
      closeWriter()
      assert.deepEqual(await Promise.all(asked), ['a', 'b', 'c', undefined])
      close()
    },
  },
  {
    name: 'a FIFO is waited for until somebody writes, and ends with its writers',
    async run(stream, test) {
      const path = fifo(test)
      const all = stream.all(path, 'background')
      await setTimeout(50)
      await withProgram('sh', ['-c', `exec > '${path}'; printf one; sleep 0.05; printf two`], async () => {
        assert.equal(String(await all), 'onetwo')
      })
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'megabytes through a FIFO are what was sent',
    async run(stream, test) {
      const content = Buffer.concat(Array.from({ length: 5 }, (_, seed) => pattern(4 * MiB, seed)))
      const [path, sent] = [fifo(test), file(test, 'sent', content)]
      await withProgram('sh', ['-c', `cat '${sent}' > '${path}'`], async () => {
        assert.equal(sha256(await stream.all(path, 'background')), sha256(content))
      })
    },
  },
  {
    name: 'of an endless program it takes what it needs',
    async run(stream, test) {
      const path = fifo(test)
      await withProgram('sh', ['-c', `exec yes > '${path}'`], async child => {
        let count = 0
        for await (const bytes of stream.read(path, 'background')) {
          for (let at = 0; at < bytes.length; at += 2)
            assert.equal(bytes[at], (count + at) % 2 === 0 ? 121 : 10)
          count += bytes.length
          if (count > MiB) break
        }
        // Its pipe has no reader any more: SIGPIPE.
        if (child.exitCode === null && child.signalCode === null) {
          await new Promise(resolve => child.once('exit', resolve))
        }
        assert.equal(child.signalCode, 'SIGPIPE')
      })
    },
  },
  {
    name: 'a chunk is the caller’s own: the next read leaves it as it is',
    async run(stream, test) {
      const { readFd, writeFd, close } = pipe(test)
      const kept: [Buffer, Buffer][] = []
      const iterator = stream.read(readFd, 'user-visible')
      for (let round = 0; round < 40; round++) {
        const sent = pattern(round % 2 === 0 ? 50 : 60_000, round)
        writeSync(writeFd, sent)
        let got = Buffer.alloc(0)
        while (got.length < sent.length) got = Buffer.concat([got, (await iterator.next()).value!])
        writeSync(writeFd, sent.subarray(0, 50))
        const { value } = await iterator.next()
        assert.ok(got.equals(sent))
        kept.push([value!, sent.subarray(0, 50)])
      }
      for (const [value, sent] of kept) assert.ok(value.equals(sent))
      await iterator.return!()
      close()
    },
  },
  {
    name: 'a file that grows while it is read is read to its end',
    async run(stream, test) {
      const path = file(test, 'file', 'one ')
      const fd = openSync(path, constants.O_RDONLY)
      const iterator = stream.read(fd, 'user-visible')
      assert.equal(await text(iterator), 'one ')
      writeFileSync(path, 'one two')
      assert.equal(await text(iterator), 'two')
      assert.equal(await text(iterator), undefined)
      closeSync(fd)
    },
  },
]
