import assert from 'node:assert/strict'
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { priorities } from '@kiruna/priority'
import type { Contract } from '../contract.ts'
import { file, GiB, KiB, MiB, pattern } from '../files.ts'

export const reading: Contract[] = [
  {
    name: 'a read fills the buffer from the position on',
    async run(seek, test) {
      const content = pattern(10_000)
      const opened = await seek.open(file(test, 'file', content), 'user-blocking')
      const buffer = Buffer.alloc(1000)
      assert.equal(await opened.read(buffer, 0, 'user-blocking'), 1000)
      assert.deepEqual(buffer, content.subarray(0, 1000))
      assert.equal(await opened.read(buffer, 7777, 'user-blocking'), 1000)
      assert.deepEqual(buffer, content.subarray(7777, 8777))
      await opened.close()
    },
  },
  {
    name: 'a read returns fewer bytes at the end of the file, and leaves the rest of the buffer alone',
    async run(seek, test) {
      const content = pattern(10_000)
      const opened = await seek.open(file(test, 'file', content), 'user-blocking')
      const buffer = Buffer.alloc(1000, 0xee)
      assert.equal(await opened.read(buffer, 9900, 'user-blocking'), 100)
      assert.deepEqual(buffer.subarray(0, 100), content.subarray(9900))
      assert.deepEqual(buffer.subarray(100), Buffer.alloc(900, 0xee))
      await opened.close()
    },
  },
  {
    name: 'a read past the end resolves 0',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'short'), 'user-blocking')
      const buffer = Buffer.alloc(16, 0xee)
      for (const position of [5, 6, 4096, 5 * GiB]) {
        assert.equal(await opened.read(buffer, position, 'user-blocking'), 0)
      }
      assert.deepEqual(buffer, Buffer.alloc(16, 0xee))
      await opened.close()
    },
  },
  {
    name: 'a zero-length read resolves 0',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'short'), 'user-blocking')
      for (const priority of priorities) {
        assert.equal(await opened.read(Buffer.alloc(0), 0, priority), 0)
        assert.equal(await opened.read(new Uint8Array(100).subarray(50, 50), 3, priority), 0)
      }
      await opened.close()
    },
  },
  {
    name: 'a read goes into any view, and only into its own bytes',
    async run(seek, test) {
      const content = pattern(64)
      const opened = await seek.open(file(test, 'file', content), 'user-blocking')
      for (const memory of [new ArrayBuffer(64), new SharedArrayBuffer(64)]) {
        const bytes = new Uint8Array(memory)
        for (const view of [
          new Uint8Array(memory, 8, 16),
          new DataView(memory, 8, 16),
          new Float64Array(memory, 8, 2),
        ]) {
          bytes.fill(0xee)
          assert.equal(await opened.read(view, 3, 'user-blocking'), 16)
          assert.deepEqual(Buffer.from(bytes.slice(8, 24)), content.subarray(3, 19))
          assert.ok(bytes.every((byte, at) => (at >= 8 && at < 24) || byte === 0xee))
        }
      }
      await opened.close()
    },
  },
  {
    name: 'positions go beyond 4 GiB',
    async run(seek, test) {
      const path = join(test.folder, 'sparse')
      const marks = [4 * GiB - 8, 4 * GiB + 4096, 6 * GiB]
      const fd = openSync(path, 'w')
      ftruncateSync(fd, 6 * GiB + 16)
      for (const mark of marks) writeSync(fd, `at ${mark}`.padEnd(16), mark)
      closeSync(fd)
      const opened = await seek.open(path, 'user-blocking')
      for (const priority of priorities) {
        for (const mark of marks) {
          const buffer = Buffer.alloc(16)
          assert.equal(await opened.read(buffer, mark, priority), 16)
          assert.equal(buffer.toString().trimEnd(), `at ${mark}`)
        }
      }
      assert.equal((await opened.stat('background')).size, 6 * GiB + 16)
      await opened.close()
    },
  },
  {
    name: 'a read of 1 MiB is whole at each priority, in pieces or not',
    async run(seek, test) {
      const content = pattern(3 * MiB + 77)
      const opened = await seek.open(file(test, 'file', content), 'user-blocking')
      for (const priority of priorities) {
        for (const [position, lengthBytes] of [
          [0, MiB],
          [12_345, MiB + 1],
          [256 * KiB, 256 * KiB],
          [2.5 * MiB, MiB], // short at the end, within a piece
          [2 * MiB + 77, MiB], // to the last byte
        ] as const) {
          const buffer = Buffer.alloc(lengthBytes)
          const expected = content.subarray(position, position + lengthBytes)
          assert.equal(await opened.read(buffer, position, priority), expected.length)
          assert.ok(buffer.subarray(0, expected.length).equals(expected), `${priority}, ${position}`)
        }
      }
      await opened.close()
    },
  },
  {
    name: 'many reads at once on one file do not mix',
    async run(seek, test) {
      const content = pattern(2 * MiB)
      const opened = await seek.open(file(test, 'file', content), 'user-blocking')
      const reads = Array.from({ length: 600 }, async (_, index) => {
        const position = (index * 7919 * 31) % content.length
        const buffer = Buffer.alloc(1 + ((index * 104_729) % (index % 20 === 0 ? 400_000 : 8000)))
        const bytes = await opened.read(buffer, position, priorities[index % 4]!)
        const expected = content.subarray(position, position + buffer.length)
        assert.equal(bytes, expected.length)
        assert.ok(buffer.subarray(0, bytes).equals(expected), `${buffer.length} bytes at ${position}`)
      })
      await Promise.all(reads)
      await opened.close()
    },
  },
]
