import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { priorities } from '@kiruna/priority'
import type { Contract } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { assertRejectsWith, assertSameError, errorOf, rejection } from '../outcomes.ts'

/** Is a chunk of, or fails in, the middle of what is written. */
const wrongChunks: [what: string, value: unknown, code: string][] = [
  ['a string', 'text', 'ERR_INVALID_ARG_TYPE'],
  ['a number', 7, 'ERR_INVALID_ARG_TYPE'],
  ['null', null, 'ERR_INVALID_ARG_TYPE'],
  ['an ArrayBuffer', new ArrayBuffer(8), 'ERR_INVALID_ARG_TYPE'],
  ['a Uint16Array', new Uint16Array(8), 'ERR_INVALID_ARG_TYPE'],
  ['resizable', new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 })), 'ERR_INVALID_ARG_VALUE'],
]

const ways = [{}, { durable: false }, { atomic: false }] as const

export const writingErrors: Contract[] = [
  {
    name: 'writeAll fails as fs.writeFile does: ENOENT, EISDIR, ENOTDIR, ENAMETOOLONG',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      for (const options of ways) {
        for (const [path_, code] of [
          [join(test.folder, 'missing/file'), 'ENOENT'],
          [Buffer.from(join(test.folder, 'missing/file')), 'ENOENT'],
          [pathToFileURL(join(test.folder, 'missing/file')), 'ENOENT'],
          ['', 'ENOENT'],
          [test.folder, 'EISDIR'],
          [`${test.folder}/new/`, 'EISDIR'],
          [join(path, 'below'), 'ENOTDIR'],
          [join(test.folder, 'x'.repeat(256)), 'ENAMETOOLONG'],
        ] as const) {
          if (process.platform === 'win32' && code !== 'ENOENT') continue
          const error = await rejection(seek.writeAll(path_, 'new', 'background', options))
          assert.equal(error.code, code, `${path_}: ${error}`)
          assertSameError(error, await errorOf(done => fs.writeFile(path_, 'new', done)))
        }
      }
      assert.deepEqual(fs.readdirSync(test.folder), ['file'])
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a descriptor that is not for writing: EBADF, EINVAL, with the path',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background')
      for (const priority of priorities) {
        const write = await rejection(opened.write(Buffer.from('new'), 0, priority))
        assert.equal(write.message, `EBADF: bad file descriptor, write '${path}'`)
        assert.deepEqual([write.code, write.syscall, write.path], ['EBADF', 'write', path])
        const truncate = await rejection(opened.truncate(0, priority))
        const node = await errorOf(done => fs.ftruncate(opened.fd, 0, done))
        assertSameError(truncate, Object.assign(new Error(`${node.message} '${path}'`), node, { path }))
      }
      assert.equal(fs.readFileSync(path, 'utf8'), 'content')
      await opened.close()
    },
  },
  {
    name: 'a disk that is full: ENOSPC from /dev/full',
    async run(seek, test) {
      if (!fs.existsSync('/dev/full')) return test.skip('there is no /dev/full')
      const opened = await seek.open('/dev/full', 'background', { flags: 'r+' })
      const error = await rejection(opened.write(Buffer.alloc(MiB), 0, 'background'))
      assert.deepEqual([error.code, error.syscall, error.path], ['ENOSPC', 'write', '/dev/full'])
      await opened.close()
      for (const options of ways) {
        const error = await rejection(seek.writeAll('/dev/full', 'content', 'background', options))
        assert.equal(error.message, "ENOSPC: no space left on device, write '/dev/full'")
      }
    },
  },
  {
    name: 'a disk that is really full: the old file stays, nothing else does, and then all works again',
    async run(seek, test) {
      if (process.platform !== 'linux') return test.skip('only Linux has a tmpfs')
      const disk = join(test.folder, 'disk')
      fs.mkdirSync(disk)
      try {
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk], { stdio: 'pipe' })
      } catch (error) {
        const { stderr, message } = error as Error & { stderr?: Buffer }
        return test.skip(`a tmpfs cannot be mounted: ${String(stderr ?? message).trim()}`)
      }
      try {
        const path = join(disk, 'file')
        fs.writeFileSync(path, pattern(MiB))
        for (const priority of priorities) {
          for (const options of [{}, { durable: false }]) {
            const error = await rejection(seek.writeAll(path, pattern(3.5 * MiB, 3), priority, options))
            assert.deepEqual([error.code, error.syscall, error.path], ['ENOSPC', 'write', path])
            assert.ok(fs.readFileSync(path).equals(pattern(MiB)))
            assert.deepEqual(fs.readdirSync(disk), ['file'])
          }
        }
        // A write that fits in part writes that part, and then says that the disk is full.
        const opened = await seek.open(join(disk, 'other'), 'background', { flags: 'w' })
        assert.equal((await rejection(opened.write(pattern(8 * MiB), 0, 'user-blocking'))).code, 'ENOSPC')
        const { size } = await opened.stat('background')
        assert.ok(size > 2 * MiB && size <= 3 * MiB, `${size} bytes`)
        assert.ok(fs.readFileSync(join(disk, 'other')).equals(pattern(size)))
        await opened.truncate(0, 'background')
        await opened.write(pattern(2 * MiB), 0, 'background')
        await opened.close()
        fs.unlinkSync(join(disk, 'other'))
        await seek.writeAll(path, pattern(2 * MiB, 5), 'background')
        assert.ok(fs.readFileSync(path).equals(pattern(2 * MiB, 5)))
      } finally {
        execFileSync('umount', ['-l', disk])
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a chunk that is no Uint8Array, or an iterator that throws, leaves the old file and closes the iterator',
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      for (const priority of priorities) {
        for (const [what, value, code] of wrongChunks) {
          let closed = 0
          const source = (async function* () {
            try {
              yield pattern(300 * KiB)
              yield value as Uint8Array
            } finally {
              await Promise.resolve()
              closed++
            }
          })()
          await assertRejectsWith(() => seek.writeAll(path, source, priority), TypeError, code, what)
          assert.equal(closed, 1, what)
        }
        const thrown = new Error('of its own')
        const source = (async function* () {
          yield pattern(300 * KiB)
          throw thrown
        })()
        assert.equal(await rejection(seek.writeAll(path, source, priority)), thrown)
        assert.equal(fs.readFileSync(path, 'utf8'), 'old')
        assert.deepEqual(fs.readdirSync(test.folder), ['file'])
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'where there is nothing to write to, the iterator is closed, and its own errors then are nobody’s',
    async run(seek, test) {
      let returned = 0
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: () => Promise.reject(new Error('it is not to be asked')),
          return: () => {
            returned++
            throw new Error('closing fails')
          },
        }),
      }
      const error = await rejection(seek.writeAll(join(test.folder, 'missing/file'), source, 'background'))
      assert.deepEqual([error.code, returned], ['ENOENT', 1])
      assert.equal(
        (await rejection(seek.writeAll(join(test.folder, 'file'), source, 'background'))).message,
        'it is not to be asked',
      )
      assert.equal(returned, 1, 'one that has thrown is done')
    },
  },
  {
    name: 'memory that is transferred away while it waits or is written is refused, and leaves the old file',
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      const opened = await seek.open(join(test.folder, 'other'), 'background', { flags: 'w' })
      const before = Array.from({ length: 32 }, () => opened.write(pattern(MiB), 0, 'background'))
      const buffers = Array.from({ length: 3 }, () => Buffer.from(new ArrayBuffer(3 * MiB)))
      const writes = [
        opened.write(buffers[0]!, 0, 'background'),
        seek.writeAll(path, buffers[1]!, 'background'),
        seek.writeAll(
          path,
          (async function* () {
            yield buffers[2]!
          })(),
          'background',
        ),
      ].map(rejection)
      for (const buffer of buffers) structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
      for (const error of await Promise.all(writes)) {
        assert.deepEqual([error instanceof TypeError, error.code], [true, 'ERR_INVALID_STATE'])
      }
      await Promise.all(before)
      await opened.close()
      assert.equal(fs.readFileSync(path, 'utf8'), 'old')
      assert.deepEqual(fs.readdirSync(test.folder), ['file', 'other'])
    },
  },
  {
    name: 'bad arguments reject, and nothing is made or changed',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background', { flags: 'r+' })
      type Expected = readonly [typeof TypeError | typeof RangeError, string]
      const TYPE: Expected = [TypeError, 'ERR_INVALID_ARG_TYPE']
      const VALUE: Expected = [TypeError, 'ERR_INVALID_ARG_VALUE']
      const RANGE: Expected = [RangeError, 'ERR_OUT_OF_RANGE']
      const STATE: Expected = [TypeError, 'ERR_INVALID_STATE']
      const detached = new Uint8Array(8)
      structuredClone(detached.buffer, { transfer: [detached.buffer] })
      const resizable = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 }))

      for (const data of [
        undefined,
        null,
        7,
        {},
        ['a'],
        new ArrayBuffer(8),
        new Uint16Array(8),
        [new Uint8Array(1)],
      ]) {
        await assertRejectsWith(
          () => seek.writeAll(path, data as string, 'background'),
          ...TYPE,
          `data ${data}`,
        )
      }
      for (const buffer of [undefined, null, 7, 'text', [1], new ArrayBuffer(8)]) {
        await assertRejectsWith(
          () => opened.write(buffer as unknown as Buffer, 0, 'background'),
          ...TYPE,
          `buffer ${buffer}`,
        )
      }
      for (const [what, buffer, error] of [
        ['detached', detached, STATE],
        ['resizable', resizable, VALUE],
      ] as const) {
        await assertRejectsWith(() => opened.write(buffer, 0, 'background'), ...error, what)
        await assertRejectsWith(() => seek.writeAll(path, buffer, 'background'), ...error, what)
      }
      for (const [what, count, error] of [
        ['missing', undefined, TYPE],
        ['a string', '0', TYPE],
        ['a bigint', 0n, TYPE],
        ['negative', -1, RANGE],
        ['a fraction', 0.5, RANGE],
        ['beyond what a number can count', 2 ** 53, RANGE],
      ] as const) {
        const number = count as number
        await assertRejectsWith(() => opened.write(Buffer.from('x'), number, 'background'), ...error, what)
        await assertRejectsWith(() => opened.truncate(number, 'background'), ...error, what)
        if (count === undefined) continue
        await assertRejectsWith(
          () => seek.writeAll(path, 'x', 'background', { mode: number }),
          ...error,
          what,
        )
      }
      for (const option of ['atomic', 'durable']) {
        for (const value of [null, 0, 'false', {}]) {
          const call = () => seek.writeAll(path, 'x', 'background', { [option]: value })
          await assertRejectsWith(call, ...TYPE, `${option}: ${value}`)
        }
      }
      for (const [caller, error] of [
        [undefined, TYPE],
        [null, TYPE],
        [{}, TYPE],
        ['urgent', VALUE],
      ] as const) {
        const bad = caller as 'background'
        await assertRejectsWith(() => opened.write(Buffer.from('x'), 0, bad), ...error, 'write')
        await assertRejectsWith(() => opened.sync(bad), ...error, 'sync')
        await assertRejectsWith(() => opened.truncate(0, bad), ...error, 'truncate')
        await assertRejectsWith(() => seek.writeAll(path, 'x', bad), ...error, 'writeAll')
      }
      for (const bad of [undefined, 42, 'a\0b', new URL('http://localhost/a')]) {
        const error = await rejection(seek.writeAll(bad as string, 'x', 'background'))
        assert.ok(error instanceof TypeError && error.code?.startsWith('ERR_INVALID_'))
      }
      await opened.close() // it waits for what was counted
      assert.equal(fs.readFileSync(path, 'utf8'), 'content')
      assert.deepEqual(fs.readdirSync(test.folder), ['file'])
    },
  },
]
