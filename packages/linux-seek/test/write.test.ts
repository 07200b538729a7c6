import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ring } from '@kiruna/linux-uring/ring'
import { EAGAIN, EINTR, EINVAL, prepSyncFileRange } from '@kiruna/linux-uring/sqe'
import { type Priority, priorities } from '@kiruna/priority'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import * as seek from '../src/seek.ts'

vi.mock('@kiruna/linux-uring/sqe', async original => {
  const sqe = await original<typeof import('@kiruna/linux-uring/sqe')>()
  return { ...sqe, prepSyncFileRange: vi.fn(sqe.prepSyncFileRange) }
})

const { O_RDWR, O_NONBLOCK } = fs.constants
const MiB = 1024 * 1024

let folder = ''
let path = ''
let fifo = ''
/** Byte i is i * 31 + (i >> 8): no two pages are the same. */
const content = Buffer.from(Uint8Array.from({ length: MiB }, (_, i) => i * 31 + (i >> 8)))

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-write-'))
  path = join(folder, 'file')
  fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** A pipe, which is full until the test reads. */
async function openPipe() {
  const file = await seek.open(fifo, 'realtime', { flags: O_RDWR })
  const end = fs.openSync(fifo, O_RDWR | O_NONBLOCK)
  return {
    file,
    read(): Buffer {
      const buffer = Buffer.alloc(65536)
      try {
        return buffer.subarray(0, fs.readSync(end, buffer))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return buffer.subarray(0, 0)
        throw error
      }
    },
    async [Symbol.asyncDispose]() {
      await file.close()
      fs.closeSync(end)
    },
  }
}

/**
 * What the kernel says only when it is short of memory, or old: its answer is held back, and these are given instead.
 * @returns how many submissions were made meanwhile
 */
async function answering(results: number[], run: () => Promise<unknown>): Promise<number> {
  let submissions = 0
  const { sqe } = Ring.prototype
  const spy = vi.spyOn(Ring.prototype, 'sqe').mockImplementation(function (
    this: Ring,
    fd,
    completion,
    makesFd,
  ) {
    submissions++
    if (completion !== undefined) {
      const { complete } = completion
      completion.complete = (result, flags) => {
        completion.complete = complete
        completion.complete(results.shift() ?? result, flags)
      }
    }
    return sqe.call(this, fd, completion, makesFd)
  })
  await run().finally(() => spy.mockRestore())
  return submissions
}

describe('a write', () => {
  test('goes on after a short one, until all is written', async () => {
    await using pipe = await openPipe()
    const writing = pipe.file.write(content, 0, 'user-blocking')
    const parts: Buffer[] = []
    for (let bytes = 0; bytes < content.length; bytes += parts.at(-1)!.length) {
      parts.push(pipe.read())
      await sleep(0)
    }
    await writing
    expect(Buffer.concat(parts).equals(content)).toBe(true)
  })

  test.each([
    ['interrupted', EINTR],
    ['short of memory', EAGAIN],
  ])('that the kernel was %s for is made again: write, fsync, ftruncate', async (_, result) => {
    const file = await seek.open(path, 'background', { flags: 'w' })
    for (const priority of priorities) {
      await answering([result, result, result], () => file.write(content, 0, priority))
      expect(fs.readFileSync(path).equals(content)).toBe(true)
      expect(await answering([result, result], () => file.sync(priority))).toBe(3)
      expect(await answering([result, result], () => file.truncate(10, priority))).toBe(3)
      expect(fs.statSync(path).size).toBe(10)
    }
    await file.close()
  })

  test('that is aborted while it waits to be made again is not', async () => {
    const file = await seek.open(path, 'background', { flags: 'w' })
    const controller = new AbortController()
    const caller = { priority: 'background' as Priority, signal: controller.signal }
    setTimeout(() => controller.abort('enough'), 5)
    const answers = Array(100).fill(EAGAIN)
    await answering(answers, () => expect(file.write(content, 0, caller)).rejects.toBe('enough'))
    expect(answers.length).toBeGreaterThan(50)
    await file.close()
  })

  test('of a pipe that is full ends with an abort, and the memory is free', async () => {
    await using pipe = await openPipe()
    await pipe.file.write(Buffer.alloc(65536), 0, 'realtime')
    for (const priority of priorities) {
      const controller = new AbortController()
      const writing = pipe.file.write(Buffer.from('never'), 0, { priority, signal: controller.signal })
      await sleep(10)
      controller.abort('enough')
      await expect(writing).rejects.toBe('enough')
    }
    expect(pipe.read().length).toBe(65536)
    expect(pipe.read().length).toBe(0)
  })

  test('from a buffer that nothing else references: it lives until its write is done, and no longer', async () => {
    await using pipe = await openPipe()
    await pipe.file.write(Buffer.alloc(65536), 0, 'realtime')
    const alive: WeakRef<ArrayBufferLike>[] = []
    const begin = (byte: number) => {
      const buffer = Buffer.from(new ArrayBuffer(30_000).slice(0)).fill(byte)
      alive.push(new WeakRef(buffer.buffer))
      return pipe.file.write(buffer, 0, 'realtime')
    }
    const writes = [begin(1), begin(2)]
    await sleep(10)
    gc!()
    for (let i = 0; i < 200; i++) Buffer.from(new ArrayBuffer(30_000)).fill(0xee)
    expect(alive.every(one => one.deref() !== undefined)).toBe(true)
    const parts: Buffer[] = []
    for (let bytes = 0; bytes < 65536 + 60_000; bytes += parts.at(-1)!.length) {
      parts.push(pipe.read())
      await sleep(0)
    }
    await Promise.all(writes)
    const written = Buffer.concat(parts).subarray(65536)
    expect(written.subarray(0, 30_000).every(byte => byte === written[0])).toBe(true)
    expect([...new Set(written)].sort()).toEqual([1, 2])
    await sleep(10)
    gc!()
    expect(alive.every(one => one.deref() === undefined)).toBe(true)
  })
})

test('10,000 writes, syncs and truncates at once, far more than the completion queue holds: none is lost', async () => {
  const file = await seek.open(path, 'background', { flags: 'w' })
  const one = content.subarray(0, 1000)
  const writes = Array.from({ length: 10_000 }, (_, i) => {
    if (i % 100 === 50) return file.sync(priorities[i % 4]!)
    if (i % 100 === 51) return file.truncate(10_000_000, priorities[i % 4]!)
    return file.write(one, i * 1000, priorities[i % 4]!)
  })
  await Promise.all(writes)
  const written = fs.readFileSync(path)
  expect(written.length).toBe(10_000_000)
  for (let i = 0; i < 10_000; i++) {
    const isWritten = written.subarray(i * 1000, (i + 1) * 1000).equals(one)
    expect(isWritten || i % 100 === 50 || i % 100 === 51).toBe(true)
  }
  await file.close()
})

test('memory does not grow over 50,000 writes and 500 writeAlls', async () => {
  const file = await seek.open(path, 'background', { flags: 'w' })
  const buffer = Buffer.alloc(4096)
  const work = async (rounds: number) => {
    for (let round = 0; round < rounds; round++) {
      await Promise.all(
        Array.from({ length: 100 }, (_, i) => file.write(buffer, i * 4096, priorities[i % 4]!)),
      )
      await seek.writeAll(join(folder, 'all'), buffer, 'realtime', { durable: false })
    }
    gc!()
    return process.memoryUsage().rss
  }
  const before = await work(100)
  expect((await work(500)) - before).toBeLessThan(20 * MiB)
  await file.close()
})

// This one last: it makes this thread believe that its kernel is an old one.
test('where io_uring has no FTRUNCATE, before Linux 6.9, node:fs truncates, and is asked at once the next time', async () => {
  const file = await seek.open(path, 'background', { flags: 'w' })
  const truncate = (file: seek.File, lengthBytes: number) =>
    answering([EINVAL], () => file.truncate(lengthBytes, 'background'))
  // It may as well be the descriptor's fault.
  const readable = await seek.open(path, 'background')
  const refused = { code: 'EINVAL', syscall: 'ftruncate', path }
  expect(
    await answering([], () => expect(readable.truncate(5, 'background')).rejects.toMatchObject(refused)),
  ).toBe(1)
  expect(await truncate(file, 1000)).toBe(1)
  expect(fs.statSync(path).size).toBe(1000)
  expect(await truncate(file, 2000)).toBe(0)
  await file.truncate(3000, 'realtime')
  expect(fs.statSync(path).size).toBe(3000)
  await Promise.all([file.close(), readable.close()])
})

test('a background writeAll goes to the disk a MiB at a time, so that little is left for its fsync', async () => {
  const writesBack = vi.mocked(prepSyncFileRange)
  const large = Buffer.alloc(3.5 * MiB, 'kiruna ')
  const target = join(folder, 'written-back')
  await seek.writeAll(target, large, 'user-blocking')
  expect(writesBack).not.toHaveBeenCalled()
  await seek.writeAll(target, large, 'background')
  expect(writesBack.mock.calls.map(([, , position, bytes]) => [position, bytes])).toEqual([
    [0, MiB],
    [MiB, MiB],
    [2 * MiB, MiB],
  ])
  expect(fs.readFileSync(target).equals(large)).toBe(true)
})
