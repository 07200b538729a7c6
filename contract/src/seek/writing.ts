import assert from 'node:assert/strict'
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { priorities } from '@kiruna/priority'
import type { Contract } from '../contract.ts'
import { file, GiB, KiB, MiB, pattern } from '../files.ts'
import { CountingAsker, rejection } from '../outcomes.ts'

export const writing: Contract[] = [
  {
    name: 'a write puts all of the buffer at the position, and leaves the rest of the file alone',
    async run(seek, test) {
      const path = file(test, 'file', pattern(10_000))
      const opened = await seek.open(path, 'user-blocking', { flags: 'r+' })
      const bytes = pattern(1000, 7)
      assert.equal(await opened.write(bytes, 2345, 'user-blocking'), undefined)
      const expected = Buffer.from(pattern(10_000))
      bytes.copy(expected, 2345)
      assert.ok(readFileSync(path).equals(expected))
      await opened.close()
    },
  },
  {
    name: 'a write beyond the end makes the file longer, with zeros between',
    async run(seek, test) {
      const path = file(test, 'file', 'short')
      const opened = await seek.open(path, 'background', { flags: 'r+' })
      await opened.write(Buffer.from('end'), 5000, 'background')
      assert.ok(
        readFileSync(path).equals(
          Buffer.concat([Buffer.from('short'), Buffer.alloc(4995), Buffer.from('end')]),
        ),
      )
      await opened.close()
    },
  },
  {
    name: 'a large write is whole at each priority, in pieces of at most 256 KiB below user-blocking',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const opened = await seek.open(path, 'user-blocking', { flags: 'w' })
      for (const [index, priority] of priorities.entries()) {
        const content = pattern(3 * MiB + 77, index)
        const asker = new CountingAsker(priority)
        await opened.write(content, 12_345, asker)
        assert.ok(readFileSync(path).subarray(12_345).equals(content), priority)
        if (index >= 2) assert.ok(asker.asked > 12, `${asker.asked} pieces`)
      }
      // Beyond what is written at once at user-blocking as well.
      const huge = Buffer.concat(Array.from({ length: 5 }, (_, seed) => pattern(4 * MiB, seed)))
      await opened.write(huge, 0, 'user-blocking')
      assert.ok(readFileSync(path).equals(huge))
      await opened.close()
    },
  },
  {
    name: 'a write is of any view, and only of its own bytes',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      for (const memory of [new ArrayBuffer(64), new SharedArrayBuffer(64)]) {
        new Uint8Array(memory).set(pattern(64))
        for (const view of [
          new Uint8Array(memory, 8, 16),
          new DataView(memory, 8, 16),
          new Float64Array(memory, 8, 2),
        ]) {
          const opened = await seek.open(path, 'background', { flags: 'w' })
          await opened.write(view, 0, 'user-visible')
          await opened.close()
          assert.deepEqual(readFileSync(path), pattern(64).subarray(8, 24))
        }
      }
    },
  },
  {
    name: 'a write of nothing resolves, and changes nothing',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background', { flags: 'r+' })
      for (const priority of priorities) await opened.write(Buffer.alloc(0), 100, priority)
      assert.equal(readFileSync(path, 'utf8'), 'content')
      await opened.close()
    },
  },
  {
    name: 'many writes at once on one file do not mix',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const opened = await seek.open(path, 'background', { flags: 'w' })
      const content = pattern(4 * MiB)
      const sliceBytes = 7000
      const writes = []
      for (let at = 0, index = 0; at < content.length; at += sliceBytes, index++) {
        writes.push(opened.write(content.subarray(at, at + sliceBytes), at, priorities[index % 4]!))
      }
      await Promise.all(writes)
      assert.ok(readFileSync(path).equals(content))
      await opened.close()
    },
  },
  {
    name: 'the memory that is written from is held, though nobody else has it',
    async run(seek, test) {
      const gc = (globalThis as { gc?: () => void }).gc
      const path = join(test.folder, 'file')
      const opened = await seek.open(path, 'background', { flags: 'w' })
      const writes = Array.from({ length: 64 }, (_, index) =>
        opened.write(Buffer.alloc(64 * KiB, index), index * 64 * KiB, 'background'),
      )
      gc?.()
      for (let index = 0; index < 500; index++) Buffer.alloc(64 * KiB, 0xee)
      gc?.()
      await Promise.all(writes)
      const content = readFileSync(path)
      for (let index = 0; index < 64; index++) {
        assert.ok(content.subarray(index * 64 * KiB, (index + 1) * 64 * KiB).every(byte => byte === index))
      }
      await opened.close()
    },
  },
  {
    name: "flags 'a' have every write at the end",
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('there, a position wins over the flag')
      const path = file(test, 'file', 'first')
      const opened = await seek.open(path, 'background', { flags: 'a' })
      await opened.write(Buffer.from(' second'), 0, 'background')
      await opened.write(Buffer.from(' third'), 2, 'realtime')
      await opened.close()
      assert.equal(readFileSync(path, 'utf8'), 'first second third')
    },
  },
  {
    name: 'positions and lengths go beyond 4 GiB',
    async run(seek, test) {
      const path = join(test.folder, 'sparse')
      const opened = await seek.open(path, 'user-blocking', { flags: 'w+' })
      await opened.truncate(6 * GiB + 16, 'background')
      assert.equal(statSync(path).size, 6 * GiB + 16)
      const fd = openSync(path, 'r')
      for (const priority of priorities) {
        for (const mark of [4 * GiB - 8, 4 * GiB + 4096, 6 * GiB, 7 * GiB]) {
          const bytes = Buffer.from(`${priority} at ${mark}`.padEnd(40))
          await opened.write(bytes, mark, priority)
          const [read, ours] = [Buffer.alloc(40), Buffer.alloc(40)]
          readSync(fd, read, 0, 40, mark)
          assert.deepEqual(read, bytes)
          assert.equal(await opened.read(ours, mark, priority), 40)
          assert.deepEqual(ours, bytes)
        }
        await opened.truncate(5 * GiB, priority)
        assert.equal(statSync(path).size, 5 * GiB)
      }
      closeSync(fd)
      await opened.close()
    },
  },
  {
    name: 'truncate makes a file shorter, or longer with zeros, at each priority',
    async run(seek, test) {
      for (const priority of priorities) {
        const path = file(test, 'file', pattern(5000))
        const opened = await seek.open(path, 'background', { flags: 'r+' })
        assert.equal(await opened.truncate(1234, priority), undefined)
        assert.deepEqual(readFileSync(path), pattern(1234))
        await opened.truncate(2000, priority)
        assert.deepEqual(readFileSync(path), Buffer.concat([pattern(1234), Buffer.alloc(766)]))
        await opened.truncate(0, priority)
        assert.equal(readFileSync(path).length, 0)
        await opened.close()
      }
    },
  },
  {
    name: 'sync resolves, of a file and of a folder',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const opened = await seek.open(path, 'background', { flags: 'w' })
      await opened.write(pattern(MiB), 0, 'background')
      for (const priority of priorities) assert.equal(await opened.sync(priority), undefined)
      await opened.close()
      if (process.platform === 'win32') return
      const folder = await seek.open(test.folder, 'background')
      await folder.sync('background')
      await folder.close()
    },
  },
  {
    name: 'O_DIRECT reads and writes aligned memory at aligned places, and refuses others: EINVAL',
    async run(seek, test) {
      const { O_DIRECT, O_RDWR, O_CREAT } = constants
      if (process.platform !== 'linux') return test.skip('only Linux has O_DIRECT')
      const path = join(test.folder, 'direct')
      const opened = await seek
        .open(path, 'background', { flags: O_RDWR | O_CREAT | O_DIRECT })
        .catch(error => error.code as string)
      if (typeof opened === 'string') return test.skip(`this file system has no O_DIRECT: ${opened}`)
      // A large ArrayBuffer is on pages of its own, but not at the beginning of one.
      const memory = Buffer.alloc(MiB + 8192)
      const aligned = (await alignedIn(memory, bytes => opened.write(bytes, 0, 'background'))).subarray(
        0,
        MiB,
      )
      pattern(MiB).copy(aligned)
      for (const priority of priorities) {
        await opened.truncate(0, priority)
        await opened.write(aligned, 4096, priority)
        assert.ok(readFileSync(path).subarray(4096).equals(pattern(MiB)))
        aligned.fill(0)
        assert.equal(await opened.read(aligned, 4096, priority), MiB)
        assert.ok(aligned.equals(pattern(MiB)))
        // An unaligned end is the end: no second read follows.
        await opened.truncate(10_000, priority)
        assert.equal(await opened.read(aligned.subarray(0, 65_536), 4096, priority), 5904)
        pattern(MiB).copy(aligned)
      }
      const error = await rejection(opened.write(aligned.subarray(1, 4097), 0, 'background'))
      assert.deepEqual([error.code, error.syscall, error.path], ['EINVAL', 'write', path])
      await opened.close()
    },
  },
  {
    name: 'close waits for writes, syncs and truncates under way, and refuses new ones: EBADF',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const opened = await seek.open(path, 'background', { flags: 'w' })
      let done = 0
      const under = [
        ...Array.from({ length: 20 }, (_, index) =>
          opened.write(pattern(MiB, index), index * MiB, priorities[index % 4]!),
        ),
        opened.sync('background'),
        opened.truncate(20 * MiB, 'background'),
      ]
      for (const promise of under) void promise.then(() => done++)
      const closing = opened.close()
      for (const settled of [false, true]) {
        if (settled) {
          await closing
          assert.equal(done, under.length)
        }
        for (const [call, syscall] of [
          [() => opened.write(Buffer.alloc(7), 0, 'background'), 'write'],
          [() => opened.write(Buffer.alloc(0), 0, 'background'), 'write'],
          [() => opened.sync('background'), 'fsync'],
          [() => opened.truncate(0, 'background'), 'ftruncate'],
        ] as const) {
          const error = await rejection(call())
          assert.deepEqual([error.code, error.syscall, error.path], ['EBADF', syscall, path])
        }
      }
      assert.equal(statSync(path).size, 20 * MiB)
      assert.throws(() => fstatSync(opened.fd), { code: 'EBADF' })
    },
  },
]

/** Of the memory, the part from a page boundary on: the first place where a direct write is accepted. */
async function alignedIn(memory: Buffer, write: (bytes: Buffer) => Promise<void>): Promise<Buffer> {
  for (let at = 0; at < 4096; at += 8) {
    const isAligned = await write(memory.subarray(at, at + 4096)).then(
      () => true,
      () => false,
    )
    if (isAligned) return memory.subarray(at)
  }
  throw new Error('no place in it is aligned')
}
