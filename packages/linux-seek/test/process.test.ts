import { execFileSync, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)))
const seekUrl = new URL('../dist/seek.js', import.meta.url).href
const ringUrl = new URL('../../linux-uring/dist/ring.js', import.meta.url).href
let folder = ''
let fifo = ''
let file = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-process-'))
  fifo = join(folder, 'fifo')
  file = join(folder, 'file')
  execFileSync('mkfifo', [fifo])
  fs.writeFileSync(file, Buffer.alloc(4 * 1024 * 1024, 'x'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

interface Ending {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
}

/** Runs a module in a Node of its own, with the built `seek`, `fs`, `fifo` and `file` at hand. */
function node(
  code: string,
  { wrapper = [] as string[], from = seekUrl, during = async (_: number) => {} } = {},
) {
  const program = `
    import fs from 'node:fs'
    import { Worker } from 'node:worker_threads'
    import { setTimeout as sleep } from 'node:timers/promises'
    import * as seek from ${JSON.stringify(from)}
    const [folder, fifo, file] = ${JSON.stringify([folder, fifo, file])}
    const { O_RDWR, O_RDONLY, O_DIRECT } = fs.constants
    ${code}`
  return new Promise<Ending>((resolve, reject) => {
    const [command, ...args] = [...wrapper, process.execPath, '--input-type=module', '-e', program]
    const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const output = { stdout: '', stderr: '' }
    let begun = false
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', text => {
        output[name] += text
        if (!begun && output.stdout.includes('ready')) {
          begun = true
          during(child.pid!).catch(reject)
        }
      })
    }
    const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
    child.on('error', reject).on('close', (code, signal) => {
      clearTimeout(late)
      resolve({ code, signal, ...output })
    })
  })
}

/** Reads that wait for data, reads that threads of the kernel wait in, and opens: all in flight, none of them done. */
const inFlight = `
  const pipe = await seek.open(fifo, 'realtime', { flags: O_RDWR })
  for (let i = 0; i < 300; i++) pipe.read(Buffer.alloc(i % 2 ? 100 : 100_000), 0, i % 3 ? 'realtime' : 'background')
  seek.open(fifo + '-lonely', 'realtime', { flags: 'w' }).catch(() => {})
  await sleep(20);`

/** Reads that are on their way from the disk. */
const fromDisk = `
  const direct = await seek.open(file, 'realtime', { flags: O_RDONLY | O_DIRECT }).catch(() => seek.open(file, 'realtime'))
  const { ring } = await import(${JSON.stringify(ringUrl)})
  const memory = new ArrayBuffer(5 * 1024 * 1024)
  const start = (4096 - (ring().addressOf(new Uint8Array(memory)) & 4095)) & 4095
  for (let i = 0; i < 1000; i++) direct.read(new Uint8Array(memory, start + i * 4096, 4096), i * 4096, 'realtime');`

describe('a process ends', () => {
  beforeAll(() => execFileSync('mkfifo', [`${fifo}-lonely`]))

  test('by itself, with an open file and an idle ring', async () => {
    const ending = await node(`
      const opened = await seek.open(file, 'realtime')
      console.log(await opened.read(Buffer.alloc(10), 0, 'realtime'), (await seek.readAll(file, 'background')).length)`)
    expect(ending).toEqual({ code: 0, signal: null, stdout: '10 4194304\n', stderr: '' })
  })

  test('not before its reads are done', async () => {
    const ending = await node(
      `const pipe = await seek.open(fifo, 'realtime', { flags: O_RDWR })
       const buffer = Buffer.alloc(5)
       pipe.read(buffer, 0, 'realtime').then(() => console.log(String(buffer)))
       console.log('ready')`,
      {
        async during() {
          await sleep(300)
          fs.writeFileSync(fifo, 'hello')
        },
      },
    )
    expect(ending).toMatchObject({ code: 0, stdout: 'ready\nhello\n' })
  })

  test('not before those that wait in the lane are done', async () => {
    const ending = await node(`
      for (let i = 0; i < 500; i++) seek.stat(file, 'background').then(() => { if (i === 499) console.log('all') })`)
    expect(ending).toMatchObject({ code: 0, stdout: 'all\n' })
  })

  test.each([
    ['process.exit', 'process.exit(7)', { code: 7, signal: null, stderr: '' }],
    [
      'an uncaught exception',
      "setImmediate(() => { throw new Error('uncaught here') })",
      { code: 1, signal: null, stderr: expect.stringContaining('uncaught here') },
    ],
    [
      'an unhandled rejection',
      "Promise.reject(new Error('unhandled here'))",
      { code: 1, signal: null, stderr: expect.stringContaining('unhandled here') },
    ],
    ['SIGTERM', "process.kill(process.pid, 'SIGTERM')", { code: null, signal: 'SIGTERM', stderr: '' }],
    ['SIGINT', "process.kill(process.pid, 'SIGINT')", { code: null, signal: 'SIGINT', stderr: '' }],
    [
      'process.exit within a completion',
      "seek.stat(file, 'realtime').then(() => process.exit(8))",
      { code: 8, signal: null, stderr: '' },
    ],
    [
      'process.exit with a worker that has as much in flight',
      `const worker = new Worker(\`
         import('${seekUrl}').then(async seek => {
           const pipe = await seek.open('\${fifo}', 'realtime', { flags: 2 })
           for (let i = 0; i < 100; i++) pipe.read(Buffer.alloc(i % 2 ? 100 : 100000), 0, 'realtime')
           const { parentPort } = await import('node:worker_threads')
           setTimeout(() => parentPort.postMessage(1), 20)
         })\`, { eval: true })
       worker.on('message', () => process.exit(9))`,
      { code: 9, signal: null, stderr: '' },
    ],
  ])('with operations in flight, promptly: %s', async (_, end, expected) => {
    for (const begin of [inFlight, fromDisk]) {
      let readyMs = 0
      const ending = await node(`${begin}; console.log('ready'); ${end}`, {
        async during() {
          readyMs = performance.now()
        },
      })
      expect(ending).toMatchObject({ ...expected, stdout: 'ready\n' })
      expect(performance.now() - readyMs).toBeLessThan(5000)
    }
  })
})

test('reading thousands of files leaves neither memory nor fds', async () => {
  const { stdout, stderr } = await node(
    `const readMany = async count => {
       let files = 0
       for await (const { bytes } of seek.readMany(Array(count).fill('/proc/version'), 'user-visible')) files += bytes.length > 0
       if (files !== count) throw new Error('files: ' + files)
       for (let i = 0; i < 2; i++) { await sleep(5); gc() }
       const { heapUsed, external } = process.memoryUsage()
       return { usedBytes: heapUsed + external, fds: fs.readdirSync('/proc/self/fd').length }
     }
     await readMany(3000)
     const [before, after] = [await readMany(3000), await readMany(10000)]
     console.log(JSON.stringify([after.usedBytes - before.usedBytes, after.fds - before.fds]))`,
    { wrapper: ['env', 'NODE_OPTIONS=--expose-gc'] },
  )
  expect(stderr).toBe('')
  const [grownBytes, grownFds] = JSON.parse(stdout)
  expect(grownBytes).toBeLessThan(500_000) // 50 bytes a file
  expect(grownFds).toBe(0)
})

describe('the system calls', () => {
  test('what is asked for in one tick goes down in one io_uring_enter', async context => {
    const log = join(folder, 'strace')
    const strace = ['strace', '-f', '-qq', '-e', 'trace=io_uring_enter', '-o', log]
    const tried = spawnSync(strace[0]!, [...strace.slice(1), 'true'], { encoding: 'utf8' })
    if (tried.status !== 0) {
      const reason = `strace does not run here: ${tried.error?.message ?? tried.stderr}`
      console.log(`skipped: ${reason}`)
      return context.skip(reason)
    }
    const { stdout, stderr } = await node(
      `const rings = () => fs.readdirSync('/proc/self/fd').filter(fd => {
         try { return fs.readlinkSync('/proc/self/fd/' + fd).includes('io_uring') } catch {}
       })
       const before = rings()
       const opened = await seek.open(file, 'realtime')
       const [ring] = rings().filter(fd => !before.includes(fd))
       const read = priority => opened.read(Buffer.alloc(100), 0, priority)
       await Promise.all(Array.from({ length: 50 }, () => read('realtime')))
       await Promise.all([...Array.from({ length: 20 }, () => read('realtime')), read('background'), opened.stat('user-visible')])
       // So do the continuations of one batch, although each runs on its own.
       await Promise.all(Array.from({ length: 30 }, async () => { await read('realtime'); await read('realtime') }))
       console.log(ring)`,
      { wrapper: strace },
    )
    expect(stderr).toBe('')
    const calls = fs.readFileSync(log, 'utf8').matchAll(/io_uring_enter\((\d+), (\d+),/g)
    const submitted = [...calls]
      .filter(([, fd, count]) => fd === stdout.trim() && count !== '0')
      .map(([, , count]) => Number(count))
    expect(submitted).toEqual([1, 50, 22, 30, 30, 1]) // the last: what the end of the process waits for
  })
})

test("require('@kiruna/linux-seek') works in CommonJS", () => {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [
      '--no-warnings',
      '-e',
      `const seek = require('@kiruna/linux-seek')
       seek.readAll(${JSON.stringify(file)}, 'user-visible').then(bytes => console.log(bytes.length))`,
    ],
    { cwd: packageFolder, encoding: 'utf8' },
  )
  expect({ stdout, stderr, status }).toEqual({ stdout: '4194304\n', stderr: '', status: 0 })
})
