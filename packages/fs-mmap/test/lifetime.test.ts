import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { gzip } from 'node:zlib'
import { map } from '../src/mmap.ts'
import { held, truncate, whyNotTruncated } from './mapped-files.test-support.ts'
import { afterAll, beforeAll, describe, expect, skipIf, test } from './runner.test-support.ts'

const MiB = 1024 * 1024
const isWindows = process.platform === 'win32'
/** How often a file is mapped and closed: KIRUNA_CYCLES=100000 for all of it. */
const cycles = Number(process.env.KIRUNA_CYCLES ?? (isWindows ? 1000 : 10_000))
const mmapUrl = new URL('../dist/mmap.js', import.meta.url).href
let folder = ''
let small = ''
let large = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-lifetime-'))
  small = join(folder, 'small')
  large = join(folder, 'large')
  fs.writeFileSync(small, Buffer.alloc(10_000, 1))
  fs.writeFileSync(large, Buffer.alloc(64 * MiB, 1))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** Collects until nothing of the folder is held, or gives up. */
async function collected(): Promise<string[]> {
  for (let i = 0; i < 50 && held(folder).length > 0; i++) {
    gc!()
    await sleep(10)
  }
  return held(folder)
}

/** Threads of this process; Windows tells nobody. */
function threads(): number {
  return isWindows ? 0 : fs.readdirSync('/proc/self/task').length
}

/** And maps. */
function maps(): number {
  return isWindows ? 0 : fs.readFileSync('/proc/self/maps', 'latin1').split('\n').length
}

test(`mapping and closing ${cycles} times leaks nothing`, { timeout: 300_000 }, async () => {
  const cycle = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const mapping = await map(small, 'user-blocking', { offsetBytes: i % 3 })
      if (i % 2) mapping.view()[5000]!++
      if (i % 5 === 0) await mapping.prefault(0, 5000, 'background')
      if (i % 7 === 0) mapping.readSync(0, 100)
      await mapping.close()
    }
  }
  await cycle(cycles / 10)
  gc!()
  await sleep(20)
  const before = { maps: maps(), rss: process.memoryUsage().rss, threads: threads() }
  await cycle(cycles)
  gc!()
  await sleep(20)
  expect(held(folder)).toEqual([])
  expect(maps() - before.maps).toBeLessThan(60) // the heap's own
  expect(threads()).toBe(before.threads)
  expect(process.memoryUsage().rss - before.rss).toBeLessThan(20 * MiB)
})

describe('a mapping that is forgotten', () => {
  test('goes with its last view', async () => {
    let view: Uint8Array | undefined = (await map(small, 'user-blocking')).view(0, 100)
    for (let i = 0; i < 5; i++) {
      gc!()
      await sleep(5)
    }
    expect(view[99]).toBe(1)
    expect(held(folder).length).toBe(isWindows ? 1 : 2)
    view = undefined
    expect(await collected()).toEqual([])
  })

  test('goes when it never had one, and after a prefault', async () => {
    const forget = async () => {
      for (let i = 0; i < 20; i++) {
        const mapping = await map(large, 'background')
        if (i % 2) await mapping.prefault(0, MiB, 'background')
      }
    }
    await forget()
    expect(await collected()).toEqual([])
  })

  test('does not go while something of it is under way', async () => {
    const prefault = (await map(large, 'background')).prefault(0, 64 * MiB, 'background')
    const read = (await map(large, 'background')).read(0, 64 * MiB, 'background')
    for (let i = 0; i < 5; i++) {
      gc!()
      await sleep(1)
    }
    await prefault
    expect((await read).equals(Buffer.alloc(64 * MiB, 1))).toBe(true)
    expect(await collected()).toEqual([])
  })

  skipIf(whyNotTruncated !== undefined, whyNotTruncated!).test(
    'survives a truncated file as long as a view does',
    async () => {
      const name = join(folder, 'truncated')
      fs.writeFileSync(name, Buffer.alloc(MiB, 1))
      const view = (await map(name, 'user-blocking')).view()
      gc!()
      await sleep(5)
      truncate(name, 0)
      expect(view[500_000]).toBe(0)
    },
  )
})

test('views by the thousand are let go, long ones too', async () => {
  await using mapping = await map(large, 'user-blocking')
  for (let i = 0; i < 2000; i++) {
    expect(mapping.view(i, 20 * MiB)[0]).toBe(1)
    expect(mapping.view(i * 30_000, 1000)[0]).toBe(1)
    if (i % 500 === 0) {
      gc!()
      await sleep(1)
    }
  }
  gc!()
  await sleep(20)
  gc!()
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(200 * MiB)
})

test('a byte stream that takes a view away leaves the mapping as it is', async () => {
  const mapping = await map(small, 'user-blocking')
  const before = mapping.view(0, 3)
  const content = Buffer.from(mapping.view())
  const given = Buffer.from(before)
  const stream = new ReadableStream({
    type: 'bytes',
    start: controller => controller.enqueue(mapping.view(0, 3)),
  })
  const { value } = await stream.getReader().read()
  expect(given.equals(value!)).toBe(true)
  expect(before.length).toBe(0) // it has moved the memory of both
  expect(content.equals(mapping.view())).toBe(true)
  await mapping.close()
  expect([...value!]).toEqual([0, 0, 0]) // pages of nobody's
})

test('a pinned view is safe with zlib while the mapping closes', async () => {
  for (let round = 0; round < 5; round++) {
    const mapping = await map(large, 'user-blocking')
    const zipped = new Promise<Buffer>((resolve, reject) => {
      const pin = mapping.pin()
      gzip(mapping.view(0, 4 * MiB), (error, bytes) => {
        pin[Symbol.dispose]()
        if (error) reject(error)
        else resolve(bytes)
      })
    })
    await mapping.close()
    expect((await zipped).length).toBeGreaterThan(0)
  }
})

/** Runs the built package in a worker that has posted a message when this returns. */
async function start(work: string): Promise<Worker> {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const { setTimeout: sleep } = require('node:timers/promises')
     const { small, large } = workerData
     const ready = () => parentPort.postMessage('ready')
     import(workerData.mmapUrl).then(async ({ map }) => { ${work} })`,
    { eval: true, workerData: { small, large, mmapUrl } },
  )
  await once(worker, 'message')
  return worker
}

describe('a worker', () => {
  const flood = `
    ready()
    for (let i = 0; ; i++) {
      const mapping = await map(i % 2 ? small : large, i % 3 ? 'user-blocking' : 'background', { access: 'read-write' })
      mapping.view()
      mapping.prefault(0, mapping.byteLength, 'background').catch(() => {})
      mapping.read(0, mapping.byteLength, 'user-visible')
      if (i % 2) mapping.sync('background').catch(() => {})
      if (i % 4 === 1) await mapping.close()
    }`

  test.each([
    [
      'during prefaults',
      "const m = await map(large, 'background'); for (let i = 0; i < 20; i++) m.prefault(0, m.byteLength, 'user-blocking'); ready()",
    ],
    [
      'during a sync',
      "const m = await map(large, 'background', { access: 'read-write' }); m.view(0, 16 << 20).fill(1); m.sync('user-blocking'); ready()",
    ],
    [
      'during reads',
      "const m = await map(large, 'background'); for (let i = 0; i < 20; i++) m.read(0, m.byteLength, 'user-blocking'); ready()",
    ],
    [
      'during a resize',
      "const m = await map(small, 'background', { access: 'read-write' }); m.resize(m.byteLength, 'user-blocking'); ready()",
    ],
    [
      'with maps on their way',
      "for (let i = 0; i < 100; i++) map(large, i % 2 ? 'background' : 'realtime'); ready()",
    ],
    [
      'with views',
      "const m = await map(large, 'background'); globalThis.views = [m.view(), m.view(0, 5), m]; ready()",
    ],
    ['with a pin', "const m = await map(large, 'background'); m.pin(); m.close(); ready()"],
    [
      'while zlib reads a view',
      "const m = await map(large, 'background'); for (let i = 0; i < 3; i++) { m.pin(); require('node:zlib').gzip(m.view(), () => {}) } ready()",
    ],
    [
      'while it closes',
      "const m = await map(large, 'background'); await m.prefault(0, m.byteLength, 'user-blocking'); m.close(); ready()",
    ],
    ['in a flood of all of it', flood],
  ])('that is terminated %s takes nothing with it and leaves nothing', async (_, work) => {
    for (let round = 0; round < 6; round++) {
      const worker = await start(work)
      await sleep(round * 2)
      await worker.terminate()
      expect(held(folder)).toEqual([])
    }
  })

  test('that ends by itself leaves nothing', async () => {
    const before = threads()
    for (let round = 0; round < 5; round++) {
      const worker = new Worker(
        `const { workerData } = require('node:worker_threads')
         import(workerData.mmapUrl).then(async ({ map }) => {
           const mapping = await map(workerData.large, 'background')
           globalThis.view = mapping.view()
           await mapping.prefault(0, mapping.byteLength, 'background')
         })`,
        { eval: true, workerData: { large, mmapUrl } },
      )
      expect(await once(worker, 'exit')).toEqual([0])
    }
    expect(held(folder)).toEqual([])
    expect(threads()).toBe(before)
  })

  test('has views of its own: a view is copied on its way to another thread', async () => {
    await using mapping = await map(small, 'user-blocking')
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads')
       parentPort.on('message', view => { parentPort.postMessage(view[5000]); parentPort.unref() })`,
      { eval: true },
    )
    const view = mapping.view()
    worker.postMessage(view)
    expect(await once(worker, 'message')).toEqual([1])
    await mapping.close()
    expect(view.length).toBe(0)
  })
})

describe('a process ends', () => {
  const begin = `
    const m = await map(large, 'user-blocking', { access: 'read-write' })
    m.view(0, 16 << 20).fill(1)
    for (let i = 0; i < 20; i++) m.prefault(0, m.byteLength, 'user-blocking').catch(() => {})
    m.read(0, m.byteLength, 'background').catch(() => {})
    m.sync('user-visible').catch(() => {})
    map(small, 'background').then(other => other.close())`

  async function node(code: string) {
    const program = `
      import { map } from ${JSON.stringify(mmapUrl)}
      import { Worker } from 'node:worker_threads'
      const [small, large] = ${JSON.stringify([small, large])}
      ${code}`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', text => (stdout += text))
    child.stderr.on('data', text => (stderr += text))
    const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
    const [code_, signal] = await once(child, 'close')
    clearTimeout(late)
    return { code: code_, signal, stdout, stderr }
  }

  test('not before what is under way is done', async () => {
    const { code, stdout, stderr } = await node(
      `${begin}; m.sync('background').then(() => console.log('synced')); m.prefault(0, 64 << 20, 'background').then(() => console.log('there'))`,
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n').sort()).toEqual(['', 'synced', 'there'])
  })

  test('by itself with mappings and views open', async () => {
    const ending = await node(
      `globalThis.all = [await map(large, 'background'), await map(small, 'background')]; all[0].view(); await all[0].prefault(0, 1, 'background'); console.log('done')`,
    )
    expect(ending).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
  })

  test.each([
    ['process.exit', 'process.exit(7)', { code: 7, signal: null, stderr: '' }],
    [
      'an uncaught exception',
      "throw new Error('here')",
      { code: 1, signal: null, stderr: expect.stringContaining('here') },
    ],
    [
      'SIGTERM',
      "process.kill(process.pid, 'SIGTERM')",
      isWindows ? { code: 1, stderr: '' } : { code: null, signal: 'SIGTERM', stderr: '' },
    ],
    [
      'process.exit in a completion',
      "m.read(0, 1, 'realtime').then(() => process.exit(8))",
      { code: 8, signal: null, stderr: '' },
    ],
    [
      'process.exit while zlib reads a view',
      "const { gzip } = await import('node:zlib'); for (let i = 0; i < 6; i++) gzip(m.view(), () => {}); setTimeout(() => process.exit(6), 20)",
      { code: 6, signal: null, stderr: '' },
    ],
    [
      'process.exit with a worker that has as much under way',
      `const worker = new Worker(\`import('${mmapUrl}').then(async ({ map }) => {
         const [small, large] = require('node:worker_threads').workerData
         \${${JSON.stringify(begin)}}
         require('node:worker_threads').parentPort.postMessage(1) })\`, { eval: true, execArgv: [], workerData: [small, large] })
       worker.on('message', () => process.exit(9))`,
      { code: 9, signal: null, stderr: '' },
    ],
  ])('with all of it under way: %s', async (_, end, expected) => {
    expect(await node(`${begin}; ${end}`)).toMatchObject(expected)
  })
})
