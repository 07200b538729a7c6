import { closeSync, openSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { type Ring, ring } from '../src/ring.ts'
import * as socketSqe from '../src/socket-sqe.ts'
import * as sqe from '../src/sqe.ts'
import { type Completion, IORING_CQE_F_MORE } from '../src/sqe.ts'

const AF_INET = 2
const SOCK_STREAM = 1
const [SOL_SOCKET, SO_REUSEADDR] = [1, 2]
const one = new Uint8Array(Int32Array.of(1).buffer)
const ECANCELED = -125
const ENOTSOCK = -88
const EBADF = -9

/** Collects what completes. */
class Completions implements Completion {
  slot = -1
  readonly results: number[] = []
  readonly flags: number[] = []
  #wake = () => {}

  complete(result: number, flags: number): void {
    this.results.push(result)
    this.flags.push(flags)
    this.#wake()
  }

  async first(count: number): Promise<number[]> {
    while (this.results.length < count) await new Promise<void>(resolve => (this.#wake = resolve))
    return this.results
  }
}

async function once(fd: number, prepare: (at: number, to: Ring) => void, makesFd = false): Promise<number> {
  const completions = new Completions()
  submit(fd, completions, prepare, makesFd)
  return (await completions.first(1))[0]!
}

function submit(
  fd: number,
  completion: Completion,
  prepare: (at: number, to: Ring) => void,
  makesFd = false,
): void {
  prepare(ring().sqe(fd, completion, makesFd), ring())
  ring().submitWithTurn(1)
}

const socket = () => once(AF_INET, (at, to) => socketSqe.prepSocket(to, at, SOCK_STREAM), true)
const close = (fd: number) => once(fd, (at, to) => sqe.prepClose(to, at, fd))

function loopback(port: number): Buffer {
  const sockaddr = Buffer.alloc(16)
  sockaddr.writeUInt16LE(AF_INET)
  sockaddr.writeUInt16BE(port, 2)
  sockaddr.set([127, 0, 0, 1], 4)
  return sockaddr
}

async function listening(): Promise<{ fd: number; port: number }> {
  const fd = await socket()
  expect(ring().native.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one)).toBe(0)
  expect(ring().native.bind(fd, loopback(0))).toBe(0)
  expect(ring().native.listen(fd, 8)).toBe(0)
  const sockaddr = Buffer.alloc(128)
  expect(ring().native.getsockname(fd, sockaddr, false)).toBe(16)
  return { fd, port: sockaddr.readUInt16BE(2) }
}

test('an accept completes with one connection, and can be cancelled', async () => {
  const { fd, port } = await listening()
  const [first, second] = [new Completions(), new Completions()]
  for (const accept of [first, second]) submit(fd, accept, (at, to) => socketSqe.prepAccept(to, at), true)
  const client = connect(port, '127.0.0.1')
  const [accepted] = await first.first(1)
  expect(accepted).toBeGreaterThan(2)
  expect(second.slot).not.toBe(-1)
  ring().cancel(second)
  expect(await second.first(1)).toEqual([ECANCELED])
  expect([...first.flags, ...second.flags].map(flags => flags & IORING_CQE_F_MORE)).toEqual([0, 0])
  client.destroy()
  for (const one of [fd, accepted!]) expect(await close(one)).toBe(0)
})

test('a socket connects, sends, receives, and ends its half', async () => {
  const server = createServer(socket => socket.pipe(socket))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const fd = await socket()
  expect(await once(fd, (at, to) => socketSqe.prepConnect(to, at, loopback(port)))).toBe(0)
  const sockaddr = Buffer.alloc(128)
  expect(ring().native.getsockname(fd, sockaddr, true)).toBe(16)
  expect(sockaddr.readUInt16BE(2)).toBe(port)

  const [bytes, memory] = [Buffer.from('there and back'), Buffer.alloc(64)]
  const [from, to] = [ring().addressOf(bytes), ring().addressOf(memory)]
  expect(await once(fd, (at, ring) => socketSqe.prepSend(ring, at, from, bytes.length, 0))).toBe(bytes.length)
  expect(await once(fd, (at, ring) => socketSqe.prepRecv(ring, at, to, 64, 0, true))).toBe(bytes.length)
  expect(String(memory.subarray(0, bytes.length))).toBe('there and back')
  expect(await once(fd, (at, to) => socketSqe.prepShutdown(to, at, 1))).toBe(0)
  expect(await once(fd, (at, ring) => socketSqe.prepRecv(ring, at, to, 64, 0, false))).toBe(0)
  expect(await close(fd)).toBe(0)
  await new Promise(resolve => server.close(resolve))
})

test('what is no socket is ENOTSOCK', () => {
  const folder = openSync('/', 'r')
  expect(ring().native.getsockname(folder, Buffer.alloc(128), false)).toBe(ENOTSOCK)
  expect(ring().native.getsockname(-1, Buffer.alloc(128), true)).toBe(EBADF)
  expect(ring().native.bind(folder, loopback(0))).toBe(ENOTSOCK)
  expect(ring().native.listen(folder, 8)).toBe(ENOTSOCK)
  expect(ring().native.setsockopt(folder, SOL_SOCKET, SO_REUSEADDR, one)).toBe(ENOTSOCK)
  closeSync(folder)
})

test('what is staged just before a flush goes down with it', async () => {
  const order: string[] = []
  const before = ring().beforeFlush
  const late = new Completions()
  const { fd } = await listening()
  ring().beforeFlush = () => {
    before()
    if (order.push('asked') === 1) ring().close(fd, late)
  }
  ring().submitSoon(3)
  expect(await late.first(1)).toEqual([0])
  expect(order.length).toBeGreaterThan(0)
  ring().beforeFlush = before
})
