import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EAGAIN, EINTR, EINVAL, SystemCalls } from '@kiruna/linux-uring/sqe'
import { type Caller, type Priority, priorities } from '@kiruna/priority'
import { InUse } from '@kiruna/priority/operation'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import * as seek from '../src/seek.ts'
import { Fsync, Ftruncate, Write } from '../src/write.ts'

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

/** What the kernel says only when it is short of memory: its answer is held back, and this one given instead. */
function saying<Arguments extends unknown[]>(
  Kind: new (...given: Arguments) => Write | Fsync | Ftruncate,
  results: number[],
) {
  return class extends (Kind as new (...given: Arguments) => Write) {
    override complete(result: number): void {
      super.complete(results.shift() ?? result)
    }
  }
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
      await new Promise<void>((resolve, reject) => {
        const results = [result, result, result]
        const Again = saying(Write, results)
        const inUse = new InUse()
        inUse.enter('write')
        const write = new Again(file.fd, path, content, 0, inUse, priority, resolve, reject)
        write.begin(write.nextBytes)
      })
      expect(fs.readFileSync(path).equals(content)).toBe(true)
      for (const begin of [
        (caller: Caller, resolve: () => void, reject: (reason: unknown) => void) => {
          const Again = saying(Fsync, [result, result])
          return new Again(file.fd, path, undefined, caller, resolve, reject)
        },
        (caller: Caller, resolve: () => void, reject: (reason: unknown) => void) => {
          const Again = saying(Ftruncate, [result, result])
          const inUse = new InUse()
          inUse.enter('ftruncate')
          return new Again(file.fd, path, 10, inUse, caller, resolve, reject)
        },
      ]) {
        await new Promise<void>((resolve, reject) => begin(priority, resolve, reject).begin(0))
      }
      expect(fs.statSync(path).size).toBe(10)
    }
    await file.close()
  })

  test('that is aborted while it waits to be made again is not', async () => {
    const file = await seek.open(path, 'background', { flags: 'w' })
    const controller = new AbortController()
    const caller = { priority: 'background' as Priority, signal: controller.signal }
    const rejected = new Promise<unknown>(resolve => {
      const Again = saying(Write, Array(100).fill(EAGAIN))
      const write = new Again(
        file.fd,
        path,
        content,
        0,
        undefined,
        caller,
        () => resolve('resolved'),
        resolve,
      )
      write.begin(write.nextBytes)
    })
    await sleep(5)
    controller.abort('enough')
    expect(await rejected).toBe('enough')
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
  class OnOldKernel extends Ftruncate {
    submissions = 0
    override start(): void {
      if (this.pooled) super.start()
      else {
        this.submissions++
        setImmediate(() => this.complete(EINVAL))
      }
    }
  }
  const file = await seek.open(path, 'background', { flags: 'w' })
  const submissions: number[] = []
  const truncate = (fd: number, lengthBytes: number) =>
    new Promise<void>((resolve, reject) => {
      const inUse = new InUse()
      inUse.enter('ftruncate')
      const operation = new OnOldKernel(fd, path, lengthBytes, inUse, 'background', resolve, reject)
      operation.begin(0)
      submissions.push(operation.submissions)
    })
  // It may as well be the descriptor's fault.
  const readable = await seek.open(path, 'background')
  await expect(truncate(readable.fd, 5)).rejects.toMatchObject({ code: 'EINVAL', syscall: 'ftruncate', path })
  await truncate(file.fd, 1000)
  expect(fs.statSync(path).size).toBe(1000)
  await truncate(file.fd, 2000)
  await file.truncate(3000, 'realtime')
  expect(fs.statSync(path).size).toBe(3000)
  expect(submissions).toEqual([1, 1, 0])
  await Promise.all([file.close(), readable.close()])
})

test('a background writeAll goes to the disk a MiB at a time, so that little is left for its fsync', async () => {
  const writesBack = vi.spyOn(SystemCalls.prototype, 'syncFileRange')
  onTestFinished(() => writesBack.mockRestore())
  const large = Buffer.alloc(3.5 * MiB, 'kiruna ')
  const target = join(folder, 'written-back')
  await seek.writeAll(target, large, 'user-blocking')
  expect(writesBack).not.toHaveBeenCalled()
  await seek.writeAll(target, large, 'background')
  expect(writesBack.mock.calls.map(([, position, bytes]) => [position, bytes])).toEqual([
    [0, MiB],
    [MiB, MiB],
    [2 * MiB, MiB],
  ])
  expect(fs.readFileSync(target).equals(large)).toBe(true)
})
