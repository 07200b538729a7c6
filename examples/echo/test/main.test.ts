import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const without = Object.fromEntries(['nc', 'socat', 'curl'].map(program => [program, whyWithout(program)]))
const { NODE_OPTIONS: _, ...env } = process.env

function whyWithout(program: string): string | undefined {
  const { error } = spawnSync(program, ['-h'], { stdio: 'ignore' })
  if (error === undefined) return undefined
  console.warn(`skipped: ${program} is not installed`)
  return `${program} is not installed`
}

const run = (file: string, ...args: string[]) => promisify(execFile)(file, args, { env })

/** A client that is given a text and ends its side then. Returns all that it prints. */
async function talk(text: string | Buffer, file: string, ...args: string[]): Promise<Buffer> {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], timeout: 15_000 })
  child.stdin.on('error', () => {})
  child.stdin.end(text)
  const pieces: Buffer[] = []
  child.stdout.on('data', bytes => pieces.push(bytes))
  await once(child, 'close')
  return Buffer.concat(pieces)
}

describe.each(['', 'libuv'])('the echo server, KIRUNA_IO=%s', io => {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-echo-'))
  const path = join(folder, 'socket')
  let server: ChildProcess
  let lines: string[]
  let [port, http] = ['', '']

  beforeAll(async () => {
    server = spawn(process.execPath, [main, '--port', '0', '--http', '0', '--path', path], {
      env: { ...env, KIRUNA_IO: io },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    lines = []
    for await (const line of createInterface(server.stdout!)) {
      if (lines.push(line) === 3) break
    }
    port = /TCP and UDP on 127\.0\.0\.1:(\d+)/.exec(lines[0]!)![1]!
    http = /http on 127\.0\.0\.1:(\d+)/.exec(lines[1]!)![1]!
  })
  afterAll(() => {
    server.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })

  test('it says which implementation it has', () => {
    if (io === 'libuv') expect(lines[2]).toBe('echo: by libuv, because KIRUNA_IO=libuv')
    else expect(lines[2]).toMatch(/^echo: by (io_uring$|libuv, because )/)
  })

  test.skipIf(without.nc)('nc has back what it sends over TCP, a little and much', async () => {
    expect(String(await talk('hello\n', 'nc', '-N', '127.0.0.1', port))).toBe('hello\n')
    const much = randomBytes(5_000_000)
    expect((await talk(much, 'nc', '-N', '127.0.0.1', port)).equals(much)).toBe(true)
  })

  test.skipIf(without.nc)('nc has back what it sends over the Unix-domain socket', async () => {
    const much = randomBytes(5_000_000)
    expect((await talk(much, 'nc', '-N', '-U', path)).equals(much)).toBe(true)
  })

  test.skipIf(without.nc)('nc has back its datagram', async () => {
    expect(String(await talk('a datagram', 'nc', '-u', '-w', '1', '127.0.0.1', port))).toBe('a datagram')
  })

  test.skipIf(without.socat)('socat has back what it sends, twenty at once', async () => {
    const sent = Array.from({ length: 20 }, (_, index) => randomBytes(index * 100_000))
    const to = (index: number) => (index % 2 === 0 ? `TCP:127.0.0.1:${port}` : `UNIX-CONNECT:${path}`)
    const received = await Promise.all(
      sent.map((bytes, index) => talk(bytes, 'socat', '-t', '10', '-', to(index))),
    )
    expect(received.every((bytes, index) => bytes.equals(sent[index]!))).toBe(true)
  })

  test.skipIf(without.socat)('socat has back its datagram', async () => {
    expect(String(await talk('a datagram', 'socat', '-t', '1', '-', `UDP:127.0.0.1:${port}`))).toBe(
      'a datagram',
    )
  })

  test.skipIf(without.curl || without.nc)('curl sees who is there, and at what priority', async () => {
    const status = async () => JSON.parse((await run('curl', '-sS', `http://127.0.0.1:${http}/`)).stdout)
    const typing = spawn('nc', ['127.0.0.1', port], { stdio: ['pipe', 'pipe', 'ignore'] })
    typing.stdin.write('a line\n')
    await once(typing.stdout, 'data')
    const streaming = spawn('nc', ['127.0.0.1', port], { stdio: ['pipe', 'ignore', 'ignore'] })
    streaming.stdin.write(Buffer.alloc(3_000_000))
    let open: Record<string, number> = {}
    while (open.background !== 1) {
      open = (await status()).open
      await sleep(10)
    }
    expect(open).toEqual({ 'user-blocking': 1, background: 1 })
    const before = await status()
    expect(before.bytes).toBeGreaterThan(7)
    typing.kill()
    streaming.kill()
    while (Object.keys((await status()).open).length > 0) await sleep(10)
  })

  test.skipIf(without.curl)('curl posts a file, and has it back', async () => {
    const file = join(folder, 'posted')
    const bytes = randomBytes(3_000_000)
    writeFileSync(file, bytes)
    const url = `http://127.0.0.1:${http}/echo`
    expect((await talk('', 'curl', '-sS', '--data-binary', `@${file}`, url)).equals(bytes)).toBe(true)
    const { stdout } = await run('curl', '-sS', '-w', '%{http_code}', `http://127.0.0.1:${http}/elsewhere`)
    expect(stdout).toBe('There is / and there is /echo.\n404')
  })

  test('SIGTERM ends it, with a connection open', async () => {
    const idle = spawn('socat', ['-', `TCP:127.0.0.1:${port}`], { stdio: ['pipe', 'pipe', 'ignore'] })
    idle.on('error', () => {}) // it is not installed
    await sleep(50)
    server.kill('SIGTERM')
    expect(await once(server, 'exit')).toEqual([0, null])
    expect(existsSync(path)).toBe(false)
    idle.kill()
  })
})

test('what is wrong with the command line is said, and nothing starts', async () => {
  for (const args of [['--port', 'x'], ['--http', '65536'], ['--nothing']]) {
    const { stderr } = await run(process.execPath, main, ...args).catch(error => error)
    expect(stderr).toMatch(/^echo: [^\n]+\n$/)
  }
  expect((await run(process.execPath, main, '--help')).stdout).toContain('--port N')
})
