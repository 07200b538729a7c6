import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as seek from '../src/seek.ts'
import { stuckDisk } from './stuck-disk.test-support.ts'

const MiB = 1024 * 1024
const seekUrl = new URL('../dist/seek.js', import.meta.url).href
let folder = ''
let fifo = ''
let large = ''
/** The other end: it never blocks. */
let end = -1

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-worker-'))
  fifo = join(folder, 'fifo')
  execFileSync('mkfifo', [fifo])
  end = fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
  large = join(folder, 'large')
  fs.writeFileSync(large, Buffer.alloc(16 * MiB, 'x'))
  fs.writeFileSync(join(folder, 'small'), 'small')
})
afterAll(() => {
  fs.closeSync(end)
  fs.rmSync(folder, { recursive: true })
})

/** Runs the built package in a worker; `work` ends with `ready` or by itself. */
async function start(work: string, data: object = {}): Promise<Worker> {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const fs = require('node:fs')
     const { setTimeout: sleep } = require('node:timers/promises')
     const ready = (value = true) => parentPort.postMessage(value)
     import(workerData.seek).then(async seek => { ${work} })`,
    {
      eval: true,
      workerData: { ...data, folder, fifo, large, seek: seekUrl },
    },
  )
  await once(worker, 'message')
  return worker
}

/** What this process has open: rings, and files of the test's folder. */
function open(): string[] {
  const targets = fs.readdirSync('/proc/self/fd').map(fd => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return targets.filter(target => target.startsWith(folder) || target.includes('io_uring')).sort()
}

function isRing(fd: string): boolean {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`).includes('io_uring')
  } catch {
    return false
  }
}

function restOfPipe(): string {
  try {
    const buffer = Buffer.alloc(2 * 65536)
    return buffer.toString('latin1', 0, fs.readSync(end, buffer))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return ''
    throw error
  }
}

async function leave(worker: Worker, how: string): Promise<void> {
  if (how === 'process.exit') {
    const exit = once(worker, 'exit')
    worker.postMessage('exit')
    await exit
  } else await worker.terminate()
}

const onExitMessage = "parentPort.on('message', () => process.exit(3));"

test('two workers and the main thread read at once, each on its own ring', async () => {
  const paths = ['one', 'two', 'main'].map(name => join(folder, name))
  for (const [i, path] of paths.entries()) fs.writeFileSync(path, Buffer.alloc(MiB, i + 1))
  const reading = `
    const file = await seek.open(workerData.path, 'user-visible')
    let wrong = 0
    for (let i = 0; i < 200; i++) {
      const buffers = Array.from({ length: 16 }, () => Buffer.alloc(3000))
      await Promise.all(buffers.map((buffer, k) => file.read(buffer, (i * 16 + k) * 100, 'user-visible')))
      for (const buffer of buffers) if (!buffer.every(byte => byte === workerData.byte)) wrong++
    }
    await file.close()
    ready(wrong)`
  const before = open()
  const workers = [0, 1].map(
    i =>
      new Worker(
        `const { parentPort, workerData } = require('node:worker_threads')
         const ready = value => parentPort.postMessage(value)
         import(workerData.seek).then(async seek => { ${reading} })`,
        {
          eval: true,
          workerData: { path: paths[i], byte: i + 1, seek: seekUrl },
        },
      ),
  )
  const answers = Promise.all(workers.map(worker => once(worker, 'message')))
  const exits = Promise.all(workers.map(worker => once(worker, 'exit')))
  for (let i = 0; i < 50; i++)
    expect((await seek.readAll(paths[2]!, 'background')).every(byte => byte === 3)).toBe(true)
  expect(await answers).toEqual([[0], [0]])
  expect(await exits).toEqual([[0], [0]])
  // This thread's own ring has come, theirs have gone; what readAll opened is closed behind it.
  const files = (list: string[]) => list.filter(target => !target.includes('io_uring'))
  await expect.poll(() => files(open())).toEqual(files(before))
})

describe.each(['terminate', 'process.exit'])('a worker that ends with operations in flight (%s)', how => {
  test.each([
    ['that wait for data', 4096],
    ['that threads of the kernel wait in', 65536],
  ])('reads %s: the kernel writes nothing afterwards, and nothing stays open', async (_, lengthBytes) => {
    const before = open()
    for (let round = 0; round < 3; round++) {
      const memory = new SharedArrayBuffer(16 * lengthBytes)
      const worker = await start(
        `${onExitMessage}
         const file = await seek.open(workerData.fifo, 'realtime', { flags: fs.constants.O_RDWR })
         for (let i = 0; i < 16; i++) {
           file.read(new Uint8Array(workerData.memory, i * ${lengthBytes}, ${lengthBytes}), 0, 'realtime')
         }
         setTimeout(ready, 30)`,
        { memory },
      )
      expect(open().length).toBeGreaterThan(before.length)
      const startMs = performance.now()
      await leave(worker, how)
      expect(performance.now() - startMs).toBeLessThan(5000)
      fs.writeSync(end, 'stays')
      await sleep(30)
      expect(new Uint8Array(memory).every(byte => byte === 0)).toBe(true)
      expect(restOfPipe()).toBe('stays')
      expect(open()).toEqual(before)
    }
  })

  test('reads from the disk, which cannot be cancelled: none lands afterwards', async () => {
    // Larger than the disk reads while a worker ends.
    const disk = join(folder, 'disk')
    fs.writeFileSync(disk, Buffer.alloc(96 * MiB, 'x'))
    const before = open()
    const memory = new SharedArrayBuffer(96 * MiB + 4096)
    const others = fs.readdirSync('/proc/self/fd')
    const told = new Int32Array(new SharedArrayBuffer(4))
    const worker = await start(
      `${onExitMessage}
         const { O_RDONLY, O_DIRECT } = fs.constants
         const file = await seek.open(workerData.disk, 'realtime', { flags: O_RDONLY | O_DIRECT })
           .catch(() => seek.open(workerData.disk, 'realtime'))
         const { ring } = await import(workerData.seek.replace('linux-seek/dist/seek', 'linux-uring/dist/ring'))
         // Its ring is told by its size: libuv has rings of its own.
         workerData.told[0] = fs.readdirSync('/proc/self/fdinfo').find(fd => {
           try {
             return !workerData.others.includes(fd) &&
               fs.readFileSync('/proc/self/fdinfo/' + fd, 'utf8').includes('SqMask:\\t0x3f')
           } catch {}
         })
         const start = (4096 - (ring().addressOf(new Uint8Array(workerData.memory)) & 4095)) & 4095
         for (let i = 0; i < 384; i++) {
           file.read(new Uint8Array(workerData.memory, start + i * 262144, 262144), i * 262144, 'realtime')
         }
         setImmediate(() => ready())`,
      { memory, told, others, disk },
    )
    // The end of the thread waits for the kernel in any case: what counts is that nothing lands once the ring is
    // closed, which is before the memory of the worker goes.
    const ring = String(told[0])
    expect(isRing(ring)).toBe(true)
    const leaving = leave(worker, how)
    for (const lateMs = performance.now() + 5000; isRing(ring); ) {
      expect(performance.now()).toBeLessThan(lateMs)
    }
    const landed = () => createHash('sha1').update(new Uint8Array(memory)).digest('hex')
    const atClose = landed()
    await leaving
    expect(landed()).toBe(atClose)
    expect(open()).toEqual(before)
    fs.unlinkSync(disk)
  })

  test('opens that wait for the other end of a FIFO', async () => {
    const lonely = join(folder, `lonely-${how}`)
    execFileSync('mkfifo', [lonely])
    const before = open()
    const worker = await start(
      `${onExitMessage}
       for (let i = 0; i < 5; i++) seek.open(workerData.lonely, 'realtime', { flags: 'w' }).catch(() => {})
       setTimeout(ready, 30)`,
      { lonely },
    )
    await leave(worker, how)
    expect(open()).toEqual(before)
  })
})

test.each([
  ['a file that it opened and left open', "await seek.open(workerData.large, 'realtime')"],
  [
    'a file that it has just asked to close',
    `(await seek.open(workerData.large, 'realtime')).close()
    for (let i = 0; i < workerData.round; i++) await null`,
  ],
  ['an open that it has just asked for', "seek.open(workerData.large, 'realtime')"],
  [
    'an open that it has just aborted',
    `
    const controller = new AbortController()
    const open = seek.open(workerData.large, { priority: 'realtime', signal: controller.signal })
    open.catch(() => {})
    process.nextTick(() => process.nextTick(() => controller.abort()))
    await null`,
  ],
  [
    'opens that are done, but whose completions it has not seen',
    `for (let i = 0; i < 5; i++) seek.open(workerData.large, 'realtime', { flags: 'a' }) // O_CREAT: on a kernel thread
    await new Promise(resolve => process.nextTick(() => process.nextTick(resolve)))
    for (const end = performance.now() + 30; performance.now() < end; );`,
  ],
  ['a readAll that is done', "await seek.readAll(workerData.large, 'realtime')"],
  [
    'a readAll under way',
    `
    for (let i = 0; i < 20; i++) seek.readAll(workerData.large, 'realtime')
    await sleep(workerData.round * 2)`,
  ],
])('a worker leaves no fd of %s', async (_, work) => {
  const before = open()
  for (let round = 0; round < 4; round++) {
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads')
       const { setTimeout: sleep } = require('node:timers/promises')
       import(workerData.seek).then(async seek => { ${work}; process.exit() })`,
      {
        eval: true,
        workerData: { large, round, seek: seekUrl },
      },
    )
    await once(worker, 'exit')
  }
  expect(open()).toEqual(before)
})

test('a worker that is terminated anywhere in a flood of reads takes nothing with it', async () => {
  const before = open()
  for (let round = 0; round < 40; round++) {
    const worker = await start(`
      ready()
      const file = await seek.open(workerData.large, 'user-visible')
      const loop = async caller => {
        for (let i = 0; ; i++) {
          await file.read(Buffer.alloc(i % 7 === 0 ? 70000 : 4096), (i * 4096) % 1e7, caller)
          if (i % 3 === 0) await seek.readAll(workerData.folder + '/small', caller)
        }
      }
      for (let i = 0; i < 32; i++) loop(i % 2 === 0 ? 'background' : 'realtime')`)
    await sleep(round)
    expect(await worker.terminate()).toBe(1)
  }
  expect(open()).toEqual(before)
})

test('a worker that is terminated anywhere in a flood of writes leaves whole files, and nothing open', async () => {
  const before = open()
  const path = join(folder, 'written')
  for (let round = 0; round < 30; round++) {
    const worker = await start(
      `
      ready()
      const file = await seek.open(workerData.folder + '/in place', 'user-visible', { flags: 'w' })
      const loop = async (caller, i) => {
        for (;; i++) {
          const content = Buffer.alloc(400_000, 'a'.charCodeAt(0) + i % 26)
          await file.write(content, 0, caller)
          await seek.writeAll(workerData.folder + '/written', content, caller, { durable: i % 2 === 0 })
        }
      }
      for (let i = 0; i < 8; i++) loop(i % 2 === 0 ? 'background' : 'realtime', i + workerData.round)`,
      { round },
    )
    await sleep(round * 2)
    expect(await worker.terminate()).toBe(1)
    expect(open()).toEqual(before)
    if (!fs.existsSync(path)) continue
    const content = fs.readFileSync(path)
    expect(content.length === 400_000 && content.every(byte => byte === content[0])).toBe(true)
  }
  expect(fs.existsSync(path)).toBe(true)
})

test('thirty workers, three at a time, leave neither fds nor memory', async () => {
  const threeWorkers = () =>
    Promise.all(
      Array.from({ length: 3 }, async () => {
        const worker = await start(`
          const file = await seek.open(workerData.fifo, 'realtime', { flags: fs.constants.O_RDWR })
          for (let i = 0; i < 50; i++) file.read(Buffer.alloc(100_000), 0, 'realtime')
          await seek.readAll(workerData.large, 'background')
          ready()`)
        await worker.terminate()
      }),
    )
  for (let i = 0; i < 2; i++) await threeWorkers()
  gc!()
  const before = { open: open(), rss: process.memoryUsage().rss }
  for (let i = 0; i < 8; i++) await threeWorkers()
  gc!()
  expect(open()).toEqual(before.open)
  // Each had 5 MB of buffers in flight and read a file of 16 MiB: a leak of either would be 60 MB and more.
  expect(process.memoryUsage().rss - before.rss).toBeLessThan(50 * MiB)
})

test('a worker that ends while its reads go from one wait of the kernel to another: all of them end', async () => {
  const before = open()
  const one = async (turns: number) => {
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads')
       import(workerData.seek).then(async seek => {
         const pipe = await seek.open(workerData.fifo, 'realtime', { flags: 2 })
         for (let i = 0; i < 40; i++) pipe.read(Buffer.alloc(100_000), 0, 'realtime') // on threads of the kernel, then by poll
         for (let n = workerData.turns; n > 0; n--) await new Promise(resolve => setImmediate(resolve))
         process.exit(3)
       })`,
      { eval: true, workerData: { fifo, turns, seek: seekUrl } },
    )
    expect(await once(worker, 'exit')).toEqual([3])
  }
  for (let round = 0; round < 30; round++) await Promise.all([one(round % 4), one((round + 1) % 4)])
  expect(open()).toEqual(before)
})

test('a worker in a worker: the end of the outer one ends both, each with reads in flight', async () => {
  const before = open()
  const reading = `
    const file = await seek.open(workerData.fifo, 'realtime', { flags: fs.constants.O_RDWR })
    for (let i = 0; i < 20; i++) file.read(Buffer.alloc(i % 2 ? 10 : 100_000), 0, 'realtime')`
  for (let round = 0; round < 5; round++) {
    const worker = await start(
      `${onExitMessage}
       const { Worker } = require('node:worker_threads')
       ${reading}
       const inner = new Worker(workerData.inner, { eval: true, workerData })
       inner.on('message', ready)`,
      {
        inner: `
          const { parentPort, workerData } = require('node:worker_threads')
          const fs = require('node:fs')
          import(workerData.seek).then(async seek => {
            ${reading}
            setTimeout(() => parentPort.postMessage(1), 5)
          })`,
      },
    )
    expect(open().length).toBeGreaterThan(before.length + 3)
    await leave(worker, round % 2 === 0 ? 'terminate' : 'process.exit')
    expect(open()).toEqual(before)
    fs.writeSync(end, 'stays')
    await sleep(5)
    expect(restOfPipe()).toBe('stays')
  }
})

test('a worker whose disk does not answer ends when it does; this thread goes on meanwhile', async context => {
  const mountpoint = join(folder, 'stuck')
  fs.mkdirSync(mountpoint)
  const { wrapper, unavailable } = stuckDisk(mountpoint, 1)
  if (unavailable !== undefined) return context.skip(unavailable)
  const program = `
    const { Worker } = require('node:worker_threads')
    const worker = new Worker(\`
      import(${JSON.stringify(seekUrl)}).then(async seek => {
        const file = await seek.open(${JSON.stringify(join(mountpoint, 'file'))}, 'background')
        file.read(Buffer.alloc(100_000), 0, 'background') // of this size on a thread of the kernel
        setTimeout(() => require('node:worker_threads').parentPort.postMessage(1), 30)
      })\`, { eval: true })
    worker.on('message', async () => {
      const startMs = performance.now()
      let ticks = 0
      const timer = setInterval(() => ticks++, 5)
      await worker.terminate()
      clearInterval(timer)
      console.log(performance.now() - startMs > 500, ticks > 20)
    })`
  const [command, ...rest] = wrapper
  const { stdout, stderr, status } = spawnSync(command, [...rest, process.execPath, '-e', program], {
    encoding: 'utf8',
    timeout: 15_000,
  })
  expect({ stdout, stderr, status }).toEqual({ stdout: 'true true\n', stderr: '', status: 0 })
})
