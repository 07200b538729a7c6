import { execFileSync, spawnSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { ring } from '@kiruna/linux-uring/ring'
import { type Completion, prepRead } from '@kiruna/linux-uring/sqe'
import type { Asker, Caller } from '@kiruna/priority'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as seek from '../src/seek.ts'

const { O_RDWR, O_NONBLOCK, O_RDONLY, O_DIRECT } = fs.constants
const MiB = 1024 * 1024

let folder = ''
let path = ''
let fifo = ''
/** Byte i of the file is i * 31 + (i >> 8): no two pages are the same. */
const content = Buffer.from(Uint8Array.from({ length: MiB }, (_, i) => i * 31 + (i >> 8)))

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-uring-'))
  path = join(folder, 'file')
  fifo = join(folder, 'fifo')
  fs.writeFileSync(path, content)
  execFileSync('mkfifo', [fifo])
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** A pipe that a read waits on for as long as the test wants. */
async function openPipe() {
  const file = await seek.open(fifo, 'realtime', { flags: O_RDWR })
  const end = fs.openSync(fifo, O_RDWR | O_NONBLOCK)
  return {
    file,
    write: (bytes: string | Uint8Array) =>
      typeof bytes === 'string' ? fs.writeSync(end, bytes) : fs.writeSync(end, bytes),
    /** What nobody has read. */
    rest(): string {
      const buffer = Buffer.alloc(2 * 65536)
      try {
        return buffer.toString('latin1', 0, fs.readSync(end, buffer))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return ''
        throw error
      }
    },
    async [Symbol.asyncDispose]() {
      await file.close()
      fs.closeSync(end)
    },
  }
}

/** File descriptors of this process that lead into the test's folder. */
function openFds(): string[] {
  return fs.readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      const target = fs.readlinkSync(`/proc/self/fd/${fd}`)
      return target.startsWith(folder) ? [target] : []
    } catch {
      return []
    }
  })
}

/** One read on the ring, as it comes: not repeated, not filled. */
class OneRead extends RingOperation<number> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #buffer: Buffer
  readonly #position: number

  static from(fd: number, buffer: Buffer, position: number, caller: Caller = 'realtime'): Promise<number> {
    return new Promise((resolve, reject) =>
      new OneRead(fd, buffer, position, caller, resolve, reject).begin(0),
    )
  }

  private constructor(
    fd: number,
    buffer: Buffer,
    position: number,
    caller: Caller,
    resolve: (result: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#buffer = buffer
    this.#position = position
  }

  start(): void {
    const address = this.ring.addressOf(this.#buffer)
    prepRead(this.ring, this.ring.sqe(this.#fd, this), address, this.#buffer.length, this.#position)
    this.ring.submitSoon(0)
  }

  complete(result: number): void {
    this.leave()
    this.succeed(result)
  }

  end(): void {}
}

describe('a read on the ring', () => {
  test('may be short: the end of the file', async () => {
    const fd = fs.openSync(path, O_RDONLY)
    const buffer = Buffer.alloc(8192)
    expect(await OneRead.from(fd, buffer, MiB - 5000)).toBe(5000)
    expect(buffer.subarray(0, 5000).equals(content.subarray(MiB - 5000))).toBe(true)
    expect(await OneRead.from(fd, buffer, MiB)).toBe(0)
    expect(await OneRead.from(fd, buffer, 2 ** 40)).toBe(0)
    fs.closeSync(fd)
  })

  test('of what is no file: EBADF', async () => {
    expect(await OneRead.from(1_000_000, Buffer.alloc(1), 0)).toBe(-9)
    const writeOnly = fs.openSync(path, 'r+')
    const append = fs.openSync(path, 'a')
    expect(await OneRead.from(writeOnly, Buffer.alloc(1), 0)).toBe(1)
    expect(await OneRead.from(append, Buffer.alloc(1), 0)).toBe(-9)
    fs.closeSync(writeOnly)
    fs.closeSync(append)
  })

  test('into memory that is none: EFAULT', async () => {
    const fd = fs.openSync(path, O_RDONLY)
    const result = await new Promise<number>(resolve => {
      prepRead(ring(), ring().sqe(fd, { slot: -1, complete: resolve }), 8, 4096, 0)
      ring().submitSoon(0)
    })
    expect(result).toBe(-14)
    fs.closeSync(fd)
  })

  test('beyond 4 GiB lands where it should', async () => {
    const sparse = join(folder, 'sparse')
    const fd = fs.openSync(sparse, 'w+')
    const position = 5 * 2 ** 32 + 12345
    fs.writeSync(fd, 'here', position)
    const buffer = Buffer.alloc(10)
    expect(await OneRead.from(fd, buffer, position - 3)).toBe(7)
    expect(buffer.toString('latin1', 0, 7)).toBe('\0\0\0here')
    fs.closeSync(fd)
    fs.unlinkSync(sparse)
  })
})

describe('File.read', () => {
  test('goes on after a short read, until the buffer is full', async () => {
    await using pipe = await openPipe()
    const buffer = Buffer.alloc(8)
    const read = pipe.file.read(buffer, 0, 'user-visible')
    pipe.write('abc')
    await sleep(20)
    pipe.write('defgh')
    expect(await read).toBe(8)
    expect(buffer.toString()).toBe('abcdefgh')
  })

  test('at and past the end of the file resolves 0', async () => {
    await using file = await seek.open(path, 'realtime')
    expect(await file.read(Buffer.alloc(10), MiB, 'realtime')).toBe(0)
    expect(
      await file.read(Buffer.alloc(10), Number.MAX_SAFE_INTEGER - 10, 'realtime').catch(e => e.code),
    ).toBe(fs.readSync(file.fd, Buffer.alloc(10), 0, 10, Number.MAX_SAFE_INTEGER - 10))
  })

  test('of an fd that was closed behind its back: EBADF, with the path', async () => {
    const file = await seek.open(path, 'realtime')
    fs.closeSync(file.fd)
    await expect(file.read(Buffer.alloc(1), 0, 'realtime')).rejects.toMatchObject({
      code: 'EBADF',
      errno: -9,
      syscall: 'read',
    })
    await expect(file.close()).rejects.toMatchObject({ code: 'EBADF', syscall: 'close' })
  })

  test('in pieces has the same bytes: background, 1 MiB and an odd length', async () => {
    await using file = await seek.open(path, 'background')
    for (const [length, position] of [
      [MiB, 0],
      [700_001, 77],
    ] as const) {
      const buffer = Buffer.alloc(length)
      expect(await file.read(buffer, position, 'background')).toBe(length)
      expect(buffer.equals(content.subarray(position, position + length))).toBe(true)
    }
  })

  test('into a part of a larger memory touches nothing else of it', async () => {
    await using file = await seek.open(path, 'realtime')
    const memory = new Uint8Array(8192).fill(255)
    await file.read(memory.subarray(1000, 1500), 0, 'realtime')
    await file.read(new DataView(memory.buffer, 5000, 3), 0, 'realtime')
    const expected = new Uint8Array(8192).fill(255)
    expected.set(content.subarray(0, 500), 1000)
    expected.set(content.subarray(0, 3), 5000)
    expect(Buffer.compare(memory, expected)).toBe(0)
  })
})

describe('an abort', () => {
  test('racing its completion, hundreds of times: one outcome each, and then the kernel is done with the buffer', async () => {
    await using pipe = await openPipe()
    const outcomes = { read: 0, aborted: 0 }
    for (let round = 0; round < 600; round++) {
      const controller = new AbortController()
      const { signal } = controller
      const caller: Asker = { priority: round % 2 === 0 ? 'background' : 'realtime', signal }
      // From 64 KiB on a thread of the kernel does the read: another way to be cancelled.
      const buffer = Buffer.alloc(round % 3 === 0 ? 100_000 : 1)
      const read = pipe.file.read(buffer, 0, caller).then(
        count => count,
        reason => {
          expect(reason).toBe('why')
          return -1
        },
      )
      if (round % 4 > 0) await new Promise(resolve => setImmediate(resolve))
      if (round % 8 < 4) pipe.write(buffer.fill(1))
      else setImmediate(() => pipe.write(Buffer.alloc(buffer.length, 1)))
      if (round % 5 > 0) await new Promise(resolve => setImmediate(resolve))
      if (round % 5 > 2) await sleep(0)
      controller.abort('why')
      if ((await read) === -1) outcomes.aborted++
      else outcomes.read++
      expect(getEventListeners(signal, 'abort').length).toBe(0)
      // What is written now must stay in the pipe.
      await new Promise(resolve => setImmediate(resolve))
      pipe.rest()
      buffer.fill(0)
      pipe.write('stays')
      expect(buffer.every(byte => byte === 0)).toBe(true)
      expect(pipe.rest()).toBe('stays')
    }
    expect(outcomes.read + outcomes.aborted).toBe(600)
    expect(Math.min(outcomes.read, outcomes.aborted)).toBeGreaterThan(20) // both sides of the race were seen
  })

  test('in the tick of the call, with the slot used again at once: hits nobody else', async () => {
    await using pipe = await openPipe()
    for (let round = 0; round < 100; round++) {
      const controllers = Array.from({ length: 10 }, () => new AbortController())
      const reads = controllers.map(({ signal }) =>
        pipe.file.read(Buffer.alloc(1), 0, { priority: 'realtime', signal }).catch(reason => reason),
      )
      if (round % 2 === 0) await new Promise(resolve => setImmediate(resolve))
      for (const controller of controllers) controller.abort('why')
      const other = pipe.file.read(Buffer.alloc(1), 0, 'realtime')
      expect(await Promise.all(reads)).toEqual(reads.map(() => 'why'))
      pipe.write('x')
      expect(await other).toBe(1)
    }
  })

  test('of many reads of a lower priority leaves room in the lane', async () => {
    await using pipe = await openPipe()
    const controller = new AbortController()
    const caller: Asker = { priority: 'background', signal: controller.signal }
    const reads = Array.from({ length: 1000 }, () => pipe.file.read(Buffer.alloc(1), 0, caller))
    await new Promise(resolve => setImmediate(resolve))
    controller.abort('why')
    const outcomes = await Promise.allSettled(reads)
    expect(outcomes.every(one => one.status === 'rejected' && one.reason === 'why')).toBe(true)
    expect((await seek.readAll(path, 'background')).equals(content)).toBe(true)
  })

  test('of an open that waits for the other end of a FIFO ends it', async () => {
    const controller = new AbortController()
    const open = seek.open(fifo, { priority: 'user-visible', signal: controller.signal }, { flags: 'w' })
    setTimeout(() => controller.abort('why'), 20)
    await expect(open).rejects.toBe('why')
    // Nothing opens it after all when the other end comes.
    const end = fs.openSync(fifo, O_RDONLY | O_NONBLOCK)
    await sleep(20)
    expect(openFds().length).toBe(1)
    fs.closeSync(end)
  })

  test('of an open that has just succeeded closes its fd', async () => {
    const before = openFds().length
    const outcomes = { opened: 0, aborted: 0 }
    for (let round = 0; round < 200; round++) {
      const controller = new AbortController()
      const open = seek.open(path, { priority: 'user-visible', signal: controller.signal })
      if (round % 2 === 0) process.nextTick(() => controller.abort('why'))
      else if (round % 4 === 1) setImmediate(() => controller.abort('why'))
      else controller.abort('why')
      await open.then(
        file => {
          outcomes.opened++
          return file.close()
        },
        reason => {
          expect(reason).toBe('why')
          outcomes.aborted++
        },
      )
    }
    expect(outcomes.aborted).toBeGreaterThan(20)
    await sleep(20)
    expect(openFds().length).toBe(before)
  })

  test('of readAll leaves no fd, at whatever step it comes', async () => {
    const before = openFds().length
    for (let round = 0; round < 200; round++) {
      const controller = new AbortController()
      const read = seek
        .readAll(path, { priority: 'background', signal: controller.signal })
        .catch(reason => reason)
      for (let turns = round % 6; turns > 0; turns--) await new Promise(resolve => setImmediate(resolve))
      controller.abort('why')
      const outcome = await read
      expect(outcome === 'why' || content.equals(outcome)).toBe(true)
    }
    await sleep(50)
    expect(openFds().length).toBe(before)
  })
})

describe('memory', () => {
  test('a buffer that nothing else references lives until its read is done, and no longer', async () => {
    await using pipe = await openPipe()
    let filled = ''
    let buffer: WeakRef<Uint8Array> | undefined
    const begin = () => {
      const bytes = new Uint8Array(50_000)
      buffer = new WeakRef(bytes)
      return pipe.file.read(bytes, 0, 'background').then(() => {
        filled = Buffer.from(buffer!.deref()!).toString('latin1')
      })
    }
    const read = begin()
    for (let i = 0; i < 5; i++) {
      await sleep(1) // a WeakRef holds to the end of the turn
      gc!()
      Array.from({ length: 20 }, () => new Uint8Array(50_000).fill(9)) // would take its memory
    }
    expect(buffer!.deref()).toBeDefined()
    pipe.write('x'.repeat(50_000))
    await read
    expect(filled).toBe('x'.repeat(50_000))
    for (let i = 0; i < 20 && buffer!.deref() !== undefined; i++) {
      await sleep(1)
      gc!()
    }
    expect(buffer!.deref()).toBeUndefined()
  })

  test('a buffer that is transferred while its read waits in the lane: an error, nothing is written', async () => {
    await using pipe = await openPipe()
    const blockers = Array.from({ length: 4 }, () => pipe.file.read(Buffer.alloc(1), 0, 'background'))
    const memory = new ArrayBuffer(16 * 5000)
    const reads = Array.from({ length: 5000 }, (_, i) =>
      pipe.file.read(new Uint8Array(memory, i * 16, 16), 0, 'background').catch(error => error.code),
    )
    const moved = new Uint8Array(structuredClone(memory, { transfer: [memory] }))
    pipe.write('abcd')
    await Promise.all(blockers)
    expect(new Set(await Promise.all(reads))).toEqual(new Set(['ERR_INVALID_STATE']))
    pipe.write('stays')
    expect(pipe.rest()).toBe('stays')
    expect(moved.every(byte => byte === 0)).toBe(true)
  })

  test('does not grow over 200,000 reads', async () => {
    await using file = await seek.open(path, 'user-visible')
    const buffers = Array.from({ length: 32 }, () => Buffer.alloc(512))
    const reads = (count: number) =>
      Promise.all(
        buffers.map(async buffer => {
          for (let i = 0; i < count / buffers.length; i++) {
            await file.read(buffer, (i * 512) % MiB, i % 2 === 0 ? 'user-blocking' : 'background')
          }
        }),
      )
    const usedBytes = () => {
      gc!()
      const { rss, heapUsed, external } = process.memoryUsage()
      return { rss, live: heapUsed + external }
    }
    await reads(40_000)
    const before = usedBytes()
    await reads(200_000)
    const after = usedBytes()
    expect(after.live - before.live).toBeLessThan(1 * MiB) // five bytes a read
    expect(after.rss - before.rss).toBeLessThan(32 * MiB)
  })
})

describe('far more in flight than the completion queue holds', () => {
  test('10,000 reads of a pipe that complete together: none is lost', async () => {
    await using pipe = await openPipe()
    const buffers = Array.from({ length: 10_000 }, () => Buffer.alloc(1))
    const reads = buffers.map(buffer => pipe.file.read(buffer, 0, 'user-blocking'))
    await sleep(100)
    pipe.write(Buffer.alloc(10_000, 7))
    expect(new Set(await Promise.all(reads))).toEqual(new Set([1]))
    expect(buffers.every(buffer => buffer[0] === 7)).toBe(true)
    expect(pipe.rest()).toBe('')
  })

  test.each(['user-blocking', 'background'] as const)(
    '10,000 %s reads of a file: each has its own bytes',
    async priority => {
      await using file = await seek.open(path, priority)
      const memory = Buffer.alloc(10_000 * 100)
      const counts = await Promise.all(
        Array.from({ length: 10_000 }, (_, i) =>
          file.read(memory.subarray(i * 100, (i + 1) * 100), i * 100, priority),
        ),
      )
      expect(new Set(counts)).toEqual(new Set([100]))
      expect(memory.equals(content.subarray(0, memory.length))).toBe(true)
    },
  )

  test('500 reads by threads of the kernel', async () => {
    await using file = await seek.open(path, 'realtime')
    const buffers = Array.from({ length: 500 }, () => Buffer.alloc(65536))
    await Promise.all(buffers.map((buffer, i) => file.read(buffer, (i % 100) * 4096, 'realtime')))
    buffers.forEach((buffer, i) => {
      const position = (i % 100) * 4096
      expect(buffer.equals(content.subarray(position, position + 65536))).toBe(true)
    })
  })
})

describe('timers go on', () => {
  /** How often a 5 ms timer fires while `work` runs for 300 ms: 60 times at best, never where the loop is starved. */
  async function timerFires(work: (endMs: number) => Promise<unknown>): Promise<number> {
    let fires = 0
    const timer = setInterval(() => fires++, 5)
    await work(performance.now() + 300)
    clearInterval(timer)
    return fires
  }

  test.each([
    ['32 at once', 32, 4096, 0, 'user-blocking'],
    ['of 48 KiB', 32, 48 * 1024, 0, 'user-blocking'],
    ['with a fifth of a millisecond of work after each', 1, 4096, 0.2, 'user-blocking'],
    ['at background, with a little work after each', 4, 4096, 0.05, 'background'],
  ] as const)('during a flood of cached reads, %s', async (_, atOnce, lengthBytes, workMs, priority) => {
    await using file = await seek.open(path, priority)
    const fires = await timerFires(endMs =>
      Promise.all(
        Array.from({ length: atOnce }, async () => {
          const buffer = Buffer.alloc(lengthBytes)
          while (performance.now() < endMs) {
            await file.read(buffer, 0, priority)
            for (const workedMs = performance.now() + workMs; performance.now() < workedMs; );
          }
        }),
      ),
    )
    expect(fires).toBeGreaterThan(3) // a machine under load takes its share
  })

  test.each(['user-blocking', 'background'] as const)(
    'while the lane lets in 10,000 %s files',
    async priority => {
      const small = join(folder, 'small')
      fs.writeFileSync(small, 'small')
      // Every call begins in the same tick, so the first turn is long; after it the loop must come round.
      const fires = await timerFires(() =>
        Promise.all(Array.from({ length: 10_000 }, () => seek.readAll(small, priority))),
      )
      expect(fires).toBeGreaterThan(2)
    },
  )
})

describe('the urgent first', () => {
  test('a batch that completes together is settled by priority, in completion order within one', async () => {
    await using pipe = await openPipe()
    const order: string[] = []
    const asked = [
      'background',
      'user-visible',
      'user-blocking',
      'realtime',
      'background',
      'realtime',
    ] as const
    const reads = asked.map(async priority => {
      const buffer = Buffer.alloc(1)
      await pipe.file.read(buffer, 0, priority)
      order.push(`${priority} ${buffer}`)
    })
    await new Promise(resolve => setImmediate(resolve))
    pipe.write('abcdef') // each letter tells when its read completed
    await Promise.all(reads)
    expect(order.map(one => one.split(' ')[0])).toEqual([
      'realtime',
      'realtime',
      'user-blocking',
      'user-visible',
      'background',
      'background',
    ])
    expect(order[0]! < order[1]! && order[4]! < order[5]!).toBe(true)
  })

  test('a caller whose own deliver throws does not cost the others their turn', async () => {
    await using pipe = await openPipe()
    const uncaught: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', error => uncaught.push((error as Error).message))
    try {
      const broken: Asker = {
        priority: 'realtime',
        deliver() {
          throw new Error('broken')
        },
      }
      void pipe.file.read(Buffer.alloc(1), 0, broken)
      const reads = Array.from({ length: 5 }, () => pipe.file.read(Buffer.alloc(1), 0, 'realtime'))
      pipe.write('abcdef')
      expect(await Promise.all(reads)).toEqual([1, 1, 1, 1, 1])
      await sleep(1)
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
    expect(uncaught).toEqual(['broken'])
  })

  test('nor does one whose priority turns into none that we know', async () => {
    await using pipe = await openPipe()
    const uncaught: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', error => uncaught.push((error as NodeJS.ErrnoException).code))
    try {
      const broken = { priority: 'realtime' as 'realtime' | 'bogus' }
      const lost = await seek.open(fifo, 'realtime', { flags: O_RDWR }) // its read never settles, so it never closes
      void lost.read(Buffer.alloc(1), 0, broken as Asker)
      const reads = Array.from({ length: 5 }, () => pipe.file.read(Buffer.alloc(1), 0, 'realtime'))
      broken.priority = 'bogus'
      pipe.write('abcdef')
      expect(await Promise.all(reads)).toEqual([1, 1, 1, 1, 1])
      await sleep(1)
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
    expect(uncaught).toEqual(['ERR_INVALID_ARG_VALUE'])
  })
})

test('a process that is spawned while reads are under way disturbs none of them', async () => {
  await using pipe = await openPipe()
  await using file = await seek.open(path, 'realtime')
  // A fork copies memory that is written to afterwards: the ring's and the buffers' must stay what the kernel knows.
  for (let round = 0; round < 5; round++) {
    const waiting = Buffer.alloc(3)
    const read = pipe.file.read(waiting, 0, 'realtime')
    await new Promise(resolve => setImmediate(resolve))
    expect(spawnSync('true').status).toBe(0)
    const buffer = Buffer.alloc(10_000)
    expect(await file.read(buffer, 5000, 'realtime')).toBe(10_000)
    expect(buffer.equals(content.subarray(5000, 15_000))).toBe(true)
    pipe.write('abc')
    expect(await read).toBe(3)
    expect(waiting.toString()).toBe('abc')
  }
})

test('a spawned process inherits neither the ring nor the files', async () => {
  await using _ = await seek.open(path, 'realtime')
  const list = (process: string) =>
    spawnSync('sh', ['-c', `ls -l /proc/${process}/fd`], { encoding: 'utf8' }).stdout
  expect(list('$PPID')).toContain('anon_inode:[io_uring]')
  expect(list('$PPID')).toContain(path)
  expect(list('self')).toContain(' 2 -> ')
  expect(list('self')).not.toMatch(/io_uring|kiruna-uring/)
})

test('O_DIRECT reads fill the buffer, up to the end of a file whose length is no multiple of a block', async context => {
  const odd = join(folder, 'odd')
  fs.writeFileSync(odd, content.subarray(0, 300_001))
  const opened = await seek.open(odd, 'background', { flags: O_RDONLY | O_DIRECT }).catch(error => error.code)
  if (opened === 'EINVAL') {
    console.log('skipped: the file system of the temporary folder knows no O_DIRECT')
    return context.skip('no O_DIRECT here')
  }
  await using file = opened as seek.File
  const memory = new ArrayBuffer(MiB + 4096)
  const start = -ring().addressOf(new Uint8Array(memory)) & 4095
  const buffer = Buffer.from(memory, start < 0 ? start + 4096 : start, 512 * 1024)
  expect(await file.read(buffer, 0, 'background')).toBe(300_001)
  expect(buffer.subarray(0, 300_001).equals(content.subarray(0, 300_001))).toBe(true)
})

test('a slot is free for the next as soon as its completion is taken', async () => {
  const completion: Completion = { slot: -1, complete: () => {} }
  const fd = () => fs.openSync(path, 'r')
  const slots = new Set<number>()
  for (let i = 0; i < 50; i++) {
    const done = new Promise<void>(resolve => {
      completion.complete = () => resolve()
    })
    ring().close(fd(), completion)
    slots.add(completion.slot)
    await done
    expect(completion.slot).toBe(-1)
  }
  expect(slots.size).toBeLessThanOrEqual(2)
})
