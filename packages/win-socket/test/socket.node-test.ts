// What the contract's tests do not look at, on Windows: node --test packages/win-socket/test/socket.node-test.ts
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, connect as nodeConnect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { port } from '@kiruna/win-iocp/iocp'
import { SOL_SOCKET } from '../src/address.ts'
import type * as iocp from '../src/socket.ts'

// winsock2.h
const SO_SNDBUF = 0x1001
const SO_RCVBUF = 0x1002

/** KIRUNA_RUNS: as often as one has the patience for. */
const runs = Number(process.env.KIRUNA_RUNS ?? 20)
const isWindows = process.platform === 'win32'
const skip = isWindows ? false : 'completion ports are Windows’s'

const url = new URL('../dist/socket.js', import.meta.url).href
const net: typeof iocp = isWindows ? await import(url) : undefined

/** Accepts, connects, reads, writes that their peers do not take, and datagrams: all in flight, and more to come. */
const busy = `
  import(${JSON.stringify(url)}).then(async net => {
    const ignored = () => {}
    const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
    const target = { port: listener.address.port, host: '127.0.0.1' }
    const socket = await net.bind({ host: '127.0.0.1' }, 'background')
    const iterator = listener[Symbol.asyncIterator]()
    for (let count = 0; count < 8; count++) {
      const client = await net.connect(target, count % 2 ? 'background' : 'realtime')
      const { value: server } = await iterator.next()
      client.read().catch(ignored)
      server.write(Buffer.alloc(8e6)).catch(ignored)
      if (count % 3 === 0) {
        void (async () => { for await (const bytes of server) await server.write(bytes) })().catch(ignored)
        void (async () => { for (;;) { await client.write('ping'); await client.read() } })().catch(ignored)
      }
    }
    iterator.next().catch(ignored)
    for (let count = 0; count < 5; count++) net.connect(target, 'background').catch(ignored)
    net.connect({ port: 9, host: '192.0.2.1' }, 'background').catch(ignored)
    void (async () => { for (;;) { await socket.send('x', socket.localAddress); await socket.receive() } })().catch(ignored)
    begun()
  })`

test(`with everything in flight, process.exit ends the process: ${runs} times`, { skip }, async () => {
  for (let round = 0; round < runs; round++) {
    const begun = `globalThis.begun = () => setTimeout(() => process.exit(7), ${(round * 7) % 60})`
    const child = spawn(process.execPath, ['--eval', `${begun};${busy}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', data => (stderr += data))
    const late = setTimeout(() => child.kill(), 20_000)
    const [code, signal] = await once(child, 'exit')
    clearTimeout(late)
    assert.deepEqual([code, signal, stderr], [7, null, ''], `round ${round}`)
  }
})

test(`with everything in flight, a worker is terminated: ${runs} times`, { skip }, async () => {
  for (let round = 0; round < runs; round++) {
    const begun = "globalThis.begun = () => require('node:worker_threads').parentPort.postMessage(0)"
    const worker = new Worker(`${begun};${busy}`, { eval: true })
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    await sleep((round * 7) % 60)
    const late = sleep(10_000, 'late', { ref: false })
    assert.notEqual(await Promise.race([worker.terminate(), late]), 'late', `round ${round}`)
  }
})

test('a worker that is terminated leaves no socket open', { skip }, async () => {
  const text = `
    import(${JSON.stringify(url)}).then(async net => {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'background')
      const { value: connection } = await (
        require('node:worker_threads').parentPort.postMessage(listener.address.port),
        listener[Symbol.asyncIterator]().next())
      await connection.read()
    })`
  const worker = new Worker(text, { eval: true })
  const [port] = await once(worker, 'message')
  const peer = nodeConnect(port, '127.0.0.1').on('error', () => {})
  await once(peer, 'connect')
  peer.resume()
  await sleep(100)
  const closed = new Promise(resolve => peer.once('close', resolve))
  await worker.terminate()
  await closed
  const again = createServer().listen(port, '127.0.0.1')
  await once(again, 'listening')
  again.close()
})

test('a write of one byte that waits for room is aborted: it counts as sent, and the rest follows', {
  skip,
}, async () => {
  const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
  setSmall(listener.address, SO_RCVBUF)
  const accepted = listener[Symbol.asyncIterator]().next()
  const client = await net.connect(targetOf(listener), 'user-visible')
  setSmall(client.localAddress!, SO_SNDBUF)
  const { value: server } = await accepted
  // One byte each, so that the first that the system does not take is whole.
  const writes: { abort: AbortController; outcome: Promise<string> }[] = []
  do {
    for (let count = 0; count < 500; count++) {
      const abort = new AbortController()
      const write = client.write('x', { priority: 'user-visible', signal: abort.signal })
      const outcome = write.then(
        () => 'sent',
        error => error.message,
      )
      writes.push({ abort, outcome })
    }
    await sleep(30)
  } while (client.queuedBytes === 0)
  const waiting = client.queuedBytes
  const last = client.write('last')
  for (const { abort } of writes) abort.abort(new Error('not any more'))
  const outcomes = await Promise.all(writes.map(({ outcome }) => outcome))
  const sent = outcomes.filter(outcome => outcome === 'sent').length
  assert.equal(outcomes.length - sent, waiting - 1)
  const reading = (async () => {
    let all = ''
    for await (const bytes of server!) all += bytes
    return all
  })()
  await last
  await client.end()
  assert.equal(await reading, `${'x'.repeat(sent)}last`)
  await Promise.all([client.close(), server!.close(), listener.close()])
})

test('closing while a byte waits for room ends at once', { skip }, async () => {
  const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
  const accepted = listener[Symbol.asyncIterator]().next()
  const client = await net.connect(targetOf(listener), 'user-visible')
  const { value: server } = await accepted
  const abort = new AbortController()
  const write = client.write(Buffer.alloc(50e6), { priority: 'background', signal: abort.signal })
  await sleep(50)
  abort.abort(new Error('enough'))
  await assert.rejects(write, /enough/)
  await assert.rejects(client.write('more'), /enough/)
  await client.close() // the byte is still the system's until now
  await Promise.all([server!.close(), listener.close()])
})

test('a path is a Unix-domain socket’s, removed with its listener', { skip }, async context => {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-unix-'))
  const path = join(folder, 'socket')
  try {
    const listener = await net.listen({ path }, 'user-visible')
    const accepted = listener[Symbol.asyncIterator]().next()
    const client = await net.connect({ path }, 'user-visible')
    const { value: server } = await accepted
    await client.write('hello')
    assert.equal(String(await server!.read()), 'hello')
    assert.deepEqual(client.remoteAddress, { family: 'Unix', path })
    await Promise.all([client.close(), server!.close(), listener.close()])
    assert.ok(!existsSync(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') throw error
    context.skip('this Windows has no Unix-domain sockets')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

function targetOf({ address }: iocp.Listener): { port: number; host: string } {
  assert.ok(address.family !== 'Unix')
  return { port: address.port, host: address.address }
}

/** Makes a buffer of the system's small, so that it is soon full. */
function setSmall(address: SocketAddress, name: number): void {
  const { native } = port()
  for (let socket = 0; socket < 64; socket++) {
    const found = native.socketName(socket, false)
    if (typeof found !== 'number' && address.family !== 'Unix' && found[2] === address.port) {
      assert.equal(native.setOption(socket, SOL_SOCKET, name, 2048), 0)
    }
  }
}
