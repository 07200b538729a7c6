import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ring } from '@kiruna/linux-uring/ring'
import type { Completion } from '@kiruna/linux-uring/sqe'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as stream from '../src/stream.ts'

const { O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants
let folder = ''
beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-stream-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

function fifo(name: string): string {
  const path = join(folder, name)
  execFileSync('mkfifo', [path])
  return path
}

const fdOf = (socket: Socket) => (socket as unknown as { _handle: { fd: number } })._handle.fd

/** Two ends of a connection, neither of which Node.js reads. */
async function connection(server: Server, address: string | number): Promise<[Socket, Socket]> {
  server.listen(address)
  await once(server, 'listening')
  const to = server.address()
  const path = typeof to === 'string' ? { path: to } : { port: to!.port, host: '127.0.0.1' }
  const [ours, [theirs]] = [connect(path).pause(), (await once(server, 'connection')) as [Socket]]
  if (ours.connecting) await once(ours, 'connect')
  server.close()
  return [ours, theirs]
}

describe.each([
  ['TCP', () => 0],
  ['a Unix socket', () => join(folder, 'socket')],
])('%s', (_, address) => {
  test('is read, left, read on, and ends when the other side does', async () => {
    const [ours, theirs] = await connection(createServer({ pauseOnConnect: true }), address())
    const iterator = stream.read(fdOf(ours), 'user-visible', { chunkBytes: 4 })
    const next = iterator.next()
    await sleep(10)
    theirs.write('12345678')
    expect(String((await next).value)).toBe('1234')
    await iterator.return?.()
    theirs.end(' and more')
    expect(String(await stream.all(fdOf(ours), 'background'))).toBe('5678 and more')
    expect((await stream.all(fdOf(ours), 'background')).length).toBe(0)
    ours.destroy()
    theirs.destroy()
  })

  test('megabytes go both ways at once', async () => {
    const [ours, theirs] = await connection(createServer({ pauseOnConnect: true }), address())
    const content = Buffer.alloc(4 * 1024 * 1024, 'some content ')
    const [out, back] = [stream.write(fdOf(ours), 'background'), stream.write(fdOf(theirs), 'background')]
    const take = async (socket: Socket) => {
      let lengthBytes = 0
      for await (const bytes of stream.read(fdOf(socket), 'background')) {
        expect(bytes.equals(content.subarray(lengthBytes, lengthBytes + bytes.length))).toBe(true)
        lengthBytes += bytes.length
        if (lengthBytes === content.length) return
      }
    }
    await Promise.all([out.write(content), back.write(content), take(ours), take(theirs)])
    await out.end()
    await back.end()
    ours.destroy()
    theirs.destroy()
  })

  test('an abort ends a read and a write that wait for the other side', async () => {
    const [ours, theirs] = await connection(createServer({ pauseOnConnect: true }), address())
    const controller = new AbortController()
    const caller = { priority: 'background', signal: controller.signal } as const
    const outcomes = Promise.allSettled([
      stream.read(fdOf(ours), caller).next(),
      stream.write(fdOf(ours), caller).write(Buffer.alloc(64 * 1024 * 1024)),
    ])
    await sleep(20)
    controller.abort('enough')
    expect(await outcomes).toEqual(Array(2).fill({ status: 'rejected', reason: 'enough' }))
    ours.destroy()
    theirs.destroy()
  })
})

test('a connection that is reset is ECONNRESET, and EPIPE for the next write', async () => {
  const [ours, theirs] = await connection(createServer({ pauseOnConnect: true }), 0)
  const next = stream.read(fdOf(ours), 'user-visible').next()
  await sleep(10)
  theirs.resetAndDestroy()
  await expect(next).rejects.toMatchObject({ code: 'ECONNRESET', syscall: 'read' })
  await expect(stream.write(fdOf(ours), 'user-visible').write('x')).rejects.toMatchObject({ code: 'EPIPE' })
  ours.destroy()
})

test('a FIFO that is O_NONBLOCK and has had no writer yet is waited for', async () => {
  const path = fifo('early')
  const fd = fs.openSync(path, O_RDONLY | O_NONBLOCK)
  const all = stream.all(fd, 'background')
  await sleep(20)
  fs.writeFileSync(path, 'late')
  expect(String(await all)).toBe('late')
  fs.closeSync(fd)
})

test.each([0, O_NONBLOCK])(
  'two processes read one pipe: each byte goes to one of them (flags %i)',
  async flags => {
    const path = fifo(`shared ${flags}`)
    const [fd, writer] = [fs.openSync(path, O_RDWR | flags), fs.openSync(path, O_RDWR)]
    const copy = join(folder, `copy ${flags}`)
    const other = spawn('sh', ['-c', `cat '${path}' > '${copy}'`])
    const sent = Buffer.from(Array.from({ length: 3000 }, (_, i) => i))
    const got: Buffer[] = []
    const controller = new AbortController()
    const reading = (async () => {
      const caller = { priority: 'user-visible', signal: controller.signal } as const
      for await (const bytes of stream.read(fd, caller, { chunkBytes: 3 })) got.push(bytes)
    })()
    const ended = expect(reading).rejects.toBe('enough')
    for (let at = 0; at < sent.length; at += 3) {
      fs.writeSync(writer, sent.subarray(at, at + 3))
      if (at % 30 === 0) await sleep(1)
    }
    await sleep(50)
    controller.abort('enough')
    await ended
    fs.closeSync(writer)
    fs.closeSync(fd)
    await once(other, 'exit')
    const sorted = (bytes: Buffer) => Buffer.from([...bytes].sort((a, b) => a - b))
    expect(sorted(Buffer.concat([...got, fs.readFileSync(copy)]))).toEqual(sorted(sent))
  },
)

test('where the kernel says EAGAIN of a FIFO whatever it holds, as before 6.11, the call itself is made', async () => {
  const calls: string[] = []
  const { sqe, submitSoon } = Ring.prototype
  let last: { at: number; completion: Completion | undefined }
  Ring.prototype.sqe = function (fd, completion, makesFd) {
    const at = sqe.call(this, fd, completion, makesFd)
    last = { at, completion }
    return at
  }
  // What knows no RWF_NOWAIT becomes a NOP, and this is its answer.
  Ring.prototype.submitSoon = function (rank) {
    const { at, completion } = last
    const [opcode, flags] = [this.words[at]! & 0xff, this.words[at + 7]!]
    if (completion !== undefined && (opcode === 22 || opcode === 23) && flags === 0) {
      calls.push(opcode === 22 ? 'read' : 'write')
      this.words[at] = 0
      const { complete } = completion
      completion.complete = (_, cqeFlags) => {
        completion.complete = complete
        completion.complete(-11, cqeFlags)
      }
    }
    submitSoon.call(this, rank)
  }
  try {
    const path = fifo('old kernel')
    const content = Buffer.alloc(1_000_000, 'some content ')
    const all = stream.all(path, 'background')
    const out = stream.write(path, 'background')
    await out.write(content)
    await out.end()
    expect((await all).equals(content)).toBe(true)
    expect(calls).toContain('read')
    expect(calls).toContain('write')
  } finally {
    Object.assign(Ring.prototype, { sqe, submitSoon })
  }
})

test('what nothing else references is held while a read or a write waits', async () => {
  const pipes = Array.from({ length: 50 }, (_, i) => fs.openSync(fifo(`held ${i}`), O_RDWR))
  const pending = pipes.map((fd, i) => {
    const out = stream.write(fd, 'background')
    return out.write(Buffer.alloc(300_000, i)).then(() => out.end())
  })
  await sleep(20)
  for (let round = 0; round < 5; round++) {
    gc!()
    await sleep(1)
    Array.from({ length: 50 }, () => Buffer.alloc(300_000, 0xee))
  }
  await Promise.all(
    pipes.map(async (fd, i) => {
      let lengthBytes = 0
      for await (const bytes of stream.read(fd, 'background')) {
        expect(bytes.every(byte => byte === i)).toBe(true)
        lengthBytes += bytes.length
        if (lengthBytes === 300_000) break
      }
    }),
  )
  await Promise.all(pending)
  for (const fd of pipes) fs.closeSync(fd)
})

test('ten thousand reads, left and aborted in turn, leave neither memory nor descriptors', async () => {
  const fd = fs.openSync(fifo('leak'), O_RDWR)
  const round = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const controller = new AbortController()
      const iterator = stream.read(fd, { priority: 'user-visible', signal: controller.signal })
      const next = iterator.next().catch(() => {})
      if (i % 3 === 0) fs.writeSync(fd, 'x')
      else if (i % 3 === 1) controller.abort()
      else void iterator.return?.()
      await next
      await iterator.return?.()
    }
    for (let collections = 0; collections < 3; collections++) {
      await sleep(5)
      gc!()
    }
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  await round(2000)
  const [before, fds] = [await round(2000), fs.readdirSync('/proc/self/fd').length]
  const after = await round(10_000)
  expect(after - before).toBeLessThan(1_000_000)
  expect(fs.readdirSync('/proc/self/fd').length).toBe(fds)
  fs.closeSync(fd)
})
