import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { check } from '../src/socket.ts'

const url = new URL('../dist/socket.js', import.meta.url).href
const rounds = 200
let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kiruna-sockets-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Of all kinds, and none of them done. `id` names the path. */
const inFlight = `
  const listeners = [
    await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible'),
    await net.listen({ path: folder + '/' + id }, 'background'),
  ]
  for (const listener of listeners) {
    const { port, path } = listener.address
    const target = path === undefined ? { port, host: '127.0.0.1' } : { path }
    const iterator = listener[Symbol.asyncIterator]()
    for (let i = 0; i < 10; i++) {
      const client = await net.connect(target, i % 2 ? 'background' : 'realtime')
      const { value: server } = await iterator.next()
      client.read().catch(() => {})
      server.write(Buffer.alloc(3e6)).catch(() => {})
      if (i % 2) client.write(Buffer.alloc(1e5)).catch(() => {})
      if (i % 3 === 0) server.read('user-blocking').catch(() => {})
      if (i % 4 === 0) client.close()
    }
    iterator.next().catch(() => {})
    for (let i = 0; i < 5; i++) net.connect(target, 'background').catch(() => {})
  }
  const sockets = await Promise.all([1, 2, 3].map(() => net.bind({ host: '127.0.0.1' }, 'realtime')))
  for (const socket of sockets) {
    socket.receive().catch(() => {})
    for (const { localAddress } of sockets) socket.send(Buffer.alloc(1000), localAddress).catch(() => {})
  }`

describe.skipIf(isMissing())('dispatch', () => {
  test(`${rounds} processes exit with everything in flight, at any moment`, {
    timeout: 300_000,
  }, async () => {
    const one = (round: number) =>
      node(`const id = 'exit${round}'
        ${inFlight}
        await sleep(${round % 8})
        process.exit(7)`)
    for (let round = 0; round < rounds; round += 2) {
      const endings = await Promise.all([one(round), one(round + 1)])
      for (const ending of endings) expect(ending).toEqual({ code: 7, signal: null, output: '' })
    }
  })

  test(`${rounds} workers are terminated with everything in flight, at any moment, and leave nothing open`, {
    timeout: 300_000,
  }, async () => {
    const ending = await node(`
      const work = \`(async () => {
        const { parentPort, workerData: id } = await import('node:worker_threads')
        const net = await import('${url}')
        const folder = ${JSON.stringify(folder)}
        ${inFlight}
        parentPort.postMessage('ready')
      })()\`
      const count = () => fs.readdirSync('/dev/fd').length
      async function run(round) {
        const worker = new Worker(work, { eval: true, workerData: 'worker' + round })
        await new Promise(resolve => worker.once('message', resolve))
        if (round % 8) await sleep(round % 8)
        await worker.terminate()
      }
      await run(0)
      const before = count()
      for (let round = 1; round < ${rounds}; round += 2) await Promise.all([run(round), run(round + 1)])
      for (let waits = 0; waits < 100 && count() > before; waits++) await sleep(10)
      console.log(count() <= before)
      // And the main thread's own go on.
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'realtime')
      const client = await net.connect({ port: listener.address.port, host: '127.0.0.1' }, 'realtime')
      const { value: server } = await listener[Symbol.asyncIterator]().next()
      await server.write('still there')
      console.log(String(await client.read()))
      process.exit()`)
    expect(ending).toEqual({ code: 0, signal: null, output: 'true\nstill there\n' })
  })
})

function isMissing(): boolean {
  try {
    check()
    return false
  } catch {
    return true
  }
}

function node(text: string): Promise<{ code: number | null; signal: string | null; output: string }> {
  const source = `
    import * as fs from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    import { Worker } from 'node:worker_threads'
    import * as net from '${url}'
    const folder = ${JSON.stringify(folder)}
    ${text}`
  const { NODE_OPTIONS: _, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], { env })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (output += text))
    const late = setTimeout(() => child.kill('SIGKILL'), 60_000)
    child.on('error', reject).on('close', (code, signal) => {
      clearTimeout(late)
      resolve({ code, signal, output })
    })
  })
}
