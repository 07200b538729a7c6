import { execFileSync, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const [seekUrl, streamUrl] = ['seek', 'stream'].map(
  name => new URL(`../../darwin-${name}/dist/${name}.js`, import.meta.url).href,
)
const rounds = 200
/** Node.js 24 deadlocks by itself where it exits while a compiler thread of V8's waits for a collection. */
const withoutCompilers = ['--no-sparkplug', '--no-maglev', '--no-opt']
let folder = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-process-'))
  fs.writeFileSync(join(folder, 'file'), Buffer.alloc(4 * 1024 * 1024, 'x'))
  for (const name of ['fifo', 'full', 'lonely']) execFileSync('mkfifo', [join(folder, name)])
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** Of all kinds, and none of them done: reads and writes of a file, calls, waits, a write that finds no room. */
const inFlight = `
  const file = await seek.open(folder + '/file', 'realtime', { flags: 'r+' })
  for (let i = 0; i < 20; i++) {
    file.read(Buffer.alloc(i % 2 ? 3_000_000 : 1_000_000), i * 100, i % 2 ? 'realtime' : 'background').catch(() => {})
    file.write(Buffer.alloc(100_000, 'x'), i * 100, 'user-blocking').catch(() => {})
    seek.readAll(folder + '/file', i % 2 ? 'user-visible' : 'user-blocking').catch(() => {})
    seek.stat(folder + '/file', 'realtime').catch(() => {})
  }
  seek.writeAll(folder + '/written', 'x'.repeat(1e6), 'user-blocking').catch(() => {})
  stream.read(fs.openSync(folder + '/fifo', fs.constants.O_RDWR), 'background').next().catch(() => {})
  const full = fs.openSync(folder + '/full', fs.constants.O_RDWR)
  stream.write(full, 'background').write(Buffer.alloc(1e6)).catch(() => {})
  stream.all(folder + '/lonely', 'background').catch(() => {})`

const header = `
  import * as fs from 'node:fs'
  import { setTimeout as sleep } from 'node:timers/promises'
  import { Worker } from 'node:worker_threads'
  const [seek, stream] = await Promise.all([import('${seekUrl}'), import('${streamUrl}')])`

function node(text: string): Promise<{ code: number | null; signal: string | null; output: string }> {
  const source = `${header}\nconst folder = ${JSON.stringify(folder)}\n${text}`
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...withoutCompilers, '--input-type=module', '--eval', source])
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (output += text))
    const late = setTimeout(() => child.kill('SIGKILL'), 240_000)
    child.on('error', reject).on('close', (code, signal) => {
      clearTimeout(late)
      resolve({ code, signal, output })
    })
  })
}

test(`${rounds} processes exit with operations in flight, at any moment`, { timeout: 300_000 }, async () => {
  const one = (round: number) =>
    node(`${inFlight}
      await sleep(${round % 8})
      process.exit(7)`)
  for (let round = 0; round < rounds; round += 2) {
    const endings = await Promise.all([one(round), one(round + 1)])
    for (const ending of endings) expect(ending).toEqual({ code: 7, signal: null, output: '' })
  }
})

test(`${rounds} workers are terminated with operations in flight, at any moment, and leave nothing open`, {
  timeout: 300_000,
}, async () => {
  const ending = await node(`
    const work = \`(async () => {
      const fs = await import('node:fs')
      const { parentPort } = await import('node:worker_threads')
      const folder = ${JSON.stringify(folder)}
      const [seek, stream] = await Promise.all([import('${seekUrl}'), import('${streamUrl}')])
      ${inFlight}
      parentPort.postMessage('ready')
    })()\`
    const count = () => fs.readdirSync('/dev/fd').length
    let before = 0
    for (let round = 0; round < ${rounds}; round++) {
      const worker = new Worker(work, { eval: true })
      await new Promise(resolve => worker.once('message', resolve))
      if (round % 8) await sleep(round % 8)
      await worker.terminate()
      if (round === 0) before = count()
    }
    await sleep(100)
    console.log(count() <= before)
    const bytes = await seek.readAll(folder + '/file', 'background')
    console.log(bytes.every(byte => byte === 120))`)
  expect(ending).toEqual({ code: 0, signal: null, output: 'true\ntrue\n' })
})
