import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { NotHere } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { rejection } from '../outcomes.ts'
import type { StreamContract, StreamTest } from './contract.ts'

export const positions: StreamContract[] = [
  {
    name: 'on a full disk a write is ENOSPC, and so is what follows, never success',
    async run(stream, test) {
      await onSmallDisk(test, async folder => {
        const borrowed = openSync(join(folder, 'borrowed'), 'w')
        for (const sink of [join(folder, 'path'), borrowed]) {
          const out = stream.write(sink, 'user-visible')
          const first = out.write(pattern(100 * KiB))
          const [second, third] = [out.write(pattern(MiB)), out.write('x')].map(rejection)
          await first
          assert.equal((await second!).code, 'ENOSPC')
          assert.equal((await third!).code, 'ENOSPC')
          assert.equal((await rejection(out.end())).code, 'ENOSPC')
          const path = typeof sink === 'string' ? sink : join(folder, 'borrowed')
          const bytes = readFileSync(path)
          assert.ok(bytes.length < MiB && bytes.subarray(0, 100 * KiB).equals(pattern(100 * KiB)))
          execFileSync('truncate', ['-s', '0', path])
        }
        closeSync(borrowed)
      })
    },
  },
  {
    name: 'two writers of one open file, and others that write to it, lose nothing of each other’s',
    async run(stream, test) {
      if (process.platform === 'win32') throw new NotHere('Windows has no lock on a file’s position')
      const path = join(test.folder, 'file')
      const fd = openSync(path, 'w')
      const lines = (letter: string) => Array.from({ length: 40 }, () => `${letter.repeat(99_999)}\n`)
      const streams = ['a', 'b'].map(async letter => {
        const out = stream.write(fd, 'background')
        for (const line of lines(letter)) {
          await out.write(line)
          writeSync(fd, `${letter}\n`)
        }
        await out.end()
      })
      const other = spawn(
        process.execPath,
        ['-e', `for (let i = 0; i < 2000; i++) fs.writeSync(1, 'c\\n')`],
        {
          stdio: ['ignore', fd, 'inherit'],
        },
      )
      await Promise.all([...streams, new Promise(resolve => other.once('exit', resolve))])
      closeSync(fd)
      const written = readFileSync(path, 'latin1').split('\n')
      const count = (line: string) => written.filter(one => one === line).length
      assert.deepEqual(
        ['a'.repeat(99_999), 'b'.repeat(99_999), 'a', 'b', 'c', ''].map(count),
        [40, 40, 40, 40, 2000, 1],
      )
    },
  },
  {
    name: 'of an open file that two programs read, each byte goes to one of them',
    async run(stream, test) {
      if (process.platform === 'win32') throw new NotHere('Windows has no lock on a file’s position')
      const words = new Uint32Array(4 * MiB).map((_, index) => index)
      const fd = openSync(file(test, 'file', new Uint8Array(words.buffer)), 'r')
      const other = spawn(
        process.execPath,
        [
          '-e',
          `const buffer = Buffer.alloc(${64 * KiB}), firsts = []
           for (let n; (n = fs.readSync(0, buffer)) > 0; ) firsts.push([buffer.readUInt32LE(0) * 4, n])
           console.log(JSON.stringify(firsts))`,
        ],
        { stdio: [fd, 'pipe', 'inherit'] },
      )
      let output = ''
      other.stdout!.on('data', bytes => {
        output += bytes
      })
      const pieces: [at: number, bytes: number][] = []
      for await (const bytes of stream.read(fd, 'user-visible'))
        pieces.push([bytes.readUInt32LE(0) * 4, bytes.length])
      await new Promise(resolve => other.once('close', resolve))
      closeSync(fd)
      pieces.push(...(JSON.parse(output) as typeof pieces))
      pieces.sort(([a], [b]) => a - b)
      let end = 0
      for (const [at, bytes] of pieces) {
        assert.equal(at, end, 'a byte has gone to both of them, or to none')
        end = at + bytes
      }
      assert.equal(end, 16 * MiB)
    },
  },
  {
    name: 'what is taken away before it is written is refused: a write never resolves with a part',
    async run(stream, test) {
      const path = join(test.folder, 'file')
      const out = stream.write(path, 'user-visible')
      const [kept, taken] = [pattern(100_000), new Uint8Array(50_000)]
      const writes = [out.write(kept), out.write(taken)]
      structuredClone(taken, { transfer: [taken.buffer] })
      await writes[0]
      assert.equal((await rejection(writes[1]!)).code, 'ERR_INVALID_STATE')
      await rejection(out.end())
      assert.equal(statSync(path).size, 100_000)
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'what a stream hands out is its reader’s alone: it can be transferred',
    async run(stream, test) {
      const [one, other] = ['one', 'other'].map(name => file(test, name, name))
      const [mine, others] = [await stream.all(one!, 'background'), await stream.all(other!, 'background')]
      const pieces: Buffer[] = []
      for await (const bytes of stream.read(one!, 'background', { chunkBytes: 1 })) pieces.push(bytes)
      for (const bytes of [mine, ...pieces.slice(1)])
        structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] })
      assert.deepEqual([String(others), String(pieces[0])], ['other', 'o'])
    },
  },
]

/** Runs with a folder on a disk of 300 KiB. */
async function onSmallDisk(test: StreamTest, run: (folder: string) => Promise<void>): Promise<void> {
  if (process.platform !== 'linux' || process.getuid!() !== 0)
    throw new NotHere('only root, on Linux, can make a small disk')
  const folder = join(test.folder, 'disk')
  mkdirSync(folder)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'none', folder], { stdio: 'pipe' })
  } catch (error) {
    throw new NotHere(`a small disk cannot be mounted: ${(error as Error).message}`)
  }
  try {
    await run(folder)
  } finally {
    execFileSync('umount', ['--lazy', folder])
  }
}
