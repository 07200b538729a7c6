import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { type Priority, priorities } from '@kiruna/priority'
import * as stream from '../src/stream.ts'

const streamUrl = new URL('../dist/stream.js', import.meta.url).href
let pipes = 0

/** A name for a pipe that nobody else has. */
function pipeName(): string {
  return `\\\\.\\pipe\\kiruna-${process.pid}-${pipes++}`
}

/** A named pipe with libuv at its other end, which `serve` is given. */
async function withPipe(
  serve: (socket: Socket) => void,
  run: (path: string, server: Server) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket.on('error', () => {}))
    serve(socket)
  })
  const path = pipeName()
  server.listen(path)
  await once(server, 'listening')
  try {
    await run(path, server)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

test('a named pipe is read to its end', () =>
  withPipe(
    socket => {
      socket.write('one ')
      void setTimeout(30).then(() => socket.end('two'))
    },
    async path => {
      for (const priority of priorities) {
        assert.equal(String(await stream.all(path, priority)), 'one two')
      }
    },
  ))

test('megabytes go through a named pipe as they were, both ways', async () => {
  const sent = Buffer.alloc(5_000_000, 'The quick brown fox. ')
  await withPipe(
    socket => socket.end(sent),
    async path => assert.ok((await stream.all(path, 'background')).equals(sent)),
  )
  let received: Buffer[] = []
  await withPipe(
    socket => socket.on('data', data => received.push(data)),
    async path => {
      const out = stream.write(path, 'background')
      await out.write(sent)
      await out.end()
      while (Buffer.concat(received).length < sent.length) await setTimeout(5)
      assert.ok(Buffer.concat(received).equals(sent))
      received = []
    },
  )
})

test('nothing is read before it is asked for, and an abort ends a wait at once', () =>
  withPipe(
    () => {},
    async path => {
      const controller = new AbortController()
      const iterator = stream.read(path, { priority: 'background', signal: controller.signal })
      const next = iterator.next()
      await setTimeout(30)
      controller.abort(new Error('enough'))
      await assert.rejects(next, { message: 'enough' })
      const left = stream.read(path, 'background')
      const pending = left.next()
      await setTimeout(30)
      await left.return!()
      assert.deepEqual(await pending, { done: true, value: undefined })
    },
  ))

test('a write that waits for room ends with an abort', () =>
  withPipe(
    socket => socket.pause(),
    async path => {
      const controller = new AbortController()
      const out = stream.write(path, { priority: 'user-visible', signal: controller.signal })
      const write = out.write(Buffer.alloc(20_000_000))
      await setTimeout(50)
      controller.abort(new Error('enough'))
      await assert.rejects(write, { message: 'enough' })
    },
  ))

test('when the other end has gone, a write is EPIPE', () =>
  withPipe(
    socket => socket.destroy(),
    async path => {
      const out = stream.write(path, 'background')
      await assert.rejects(
        async () => {
          for (;;) await out.write('bytes')
        },
        { code: 'EPIPE', syscall: 'write', path },
      )
    },
  ))

test('a pipe that is not there is ENOENT', async () => {
  const path = pipeName()
  await assert.rejects(stream.all(path, 'background'), { code: 'ENOENT', syscall: 'open', path })
})

test('of what comes together, the most urgent goes on first', () => {
  const sockets: Socket[] = []
  return withPipe(
    socket => sockets.push(socket),
    async path => {
      const asked: Priority[] = ['background', 'user-visible', 'user-blocking', 'realtime']
      const order: Priority[] = []
      const reads = asked.map(async priority => {
        const iterator = stream.read(path, priority)
        await iterator.next()
        order.push(priority)
        await iterator.return!()
      })
      await setTimeout(50)
      for (const socket of sockets) socket.write('x')
      const until = performance.now() + 50
      while (performance.now() < until); // all of it arrives while this thread is busy
      await Promise.all(reads)
      assert.deepEqual(order, priorities)
    },
  )
})

/** A Node.js of its own, with `stream` at hand. */
function inChild(text: string) {
  const source = `import * as stream from ${JSON.stringify(streamUrl)}\n${text}`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source])
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', data => (stdout += data))
  child.stderr.setEncoding('utf8').on('data', data => (stderr += data))
  const late = globalThis.setTimeout(() => child.kill(), 15_000)
  const closed = new Promise<{ code: number | null; stdout: string; stderr: string }>(resolve =>
    child.on('close', code => {
      clearTimeout(late)
      resolve({ code, stdout, stderr })
    }),
  )
  return { child, closed }
}

test('stdin and stdout are pipes that may be borrowed', async () => {
  const { child, closed } = inChild(`
    const out = stream.write(1, 'user-visible')
    for await (const bytes of stream.read(0, 'background')) await out.write(String(bytes).toUpperCase())
    await out.end()`)
  for (let index = 0; index < 20; index++) {
    child.stdin.write('line\n')
    await setTimeout(5)
  }
  child.stdin.end()
  assert.deepEqual(await closed, { code: 0, stdout: 'LINE\n'.repeat(20), stderr: '' })
})

test('a pending read keeps the process alive until it is answered, and an idle stream does not', async () => {
  const { child, closed } = inChild(`
    const iterator = stream.read(0, 'background', { chunkBytes: 1 })
    console.log(String((await iterator.next()).value))`)
  await setTimeout(300)
  child.stdin.write('12')
  assert.deepEqual(await closed, { code: 0, stdout: '1\n', stderr: '' })
})

test('what a loop leaves of stdin is for somebody else', async () => {
  const { child, closed } = inChild(`
    for await (const bytes of stream.read(0, 'background', { chunkBytes: 4 })) break
    process.stdin.setEncoding('utf8').on('data', text => process.stdout.write(text))`)
  child.stdin.end('one two three')
  assert.deepEqual(await closed, { code: 0, stdout: 'two three', stderr: '' })
})
