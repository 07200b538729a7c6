import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Priority, priorities } from '@kiruna/priority'
import { describe, expect, onTestFinished, test } from 'vitest'
import { check, connect, listen } from '../src/socket.ts'

const missing = whyNot()
const gc = (globalThis as unknown as { gc(): void }).gc

function whyNot(): string | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

describe.skipIf(missing !== undefined)('dispatch', () => {
  test('what the peer has sent before its end is read, though both have ended and nobody waited', async () => {
    const { connection, peer } = await withPeer()
    peer.end(Buffer.alloc(1_000_000, 'x'))
    await connection.end()
    await sleep(20)
    let length = 0
    for await (const bytes of connection) {
      length += bytes.length
      if (length % 7 === 0) await sleep(1)
    }
    expect(length).toBe(1_000_000)
  })

  test('no source fires while nobody reads what has come', async () => {
    const { connection, peer } = await withPeer()
    const reading = connection.read()
    await sleep(20) // it waits
    peer.write(Buffer.alloc(1_000_000))
    await reading
    await sleep(100)
    const before = process.cpuUsage()
    await sleep(500)
    const { user, system } = process.cpuUsage(before)
    expect(user + system).toBeLessThan(250_000) // one that does keeps a thread busy
  })

  test('a read that waits moves with its caller, at any moment, and loses no byte', async () => {
    const { connection, peer } = await withPeer()
    const received: string[] = []
    const reading = (async () => {
      for await (const bytes of connection) received.push(String(bytes))
    })()
    let sent = ''
    for (let round = 0; round < 500; round++) {
      const piece = `${round} `
      peer.write(piece)
      sent += piece
      for (let change = 0; change < round % 4; change++) connection.caller = priorities[change] as Priority
      if (round % 3 === 0) await sleep(0)
      connection.caller = priorities[round % 4] as Priority
    }
    peer.end()
    await reading
    expect(received.join('')).toBe(sent)
  })

  test('reads go into memory that nothing else refers to, and into no other', async () => {
    const { connection, peer } = await withPeer()
    const others: Buffer[] = []
    for (let round = 0; round < 50; round++) {
      const reading = connection.read()
      others.push(Buffer.alloc(5000, 'o'))
      gc()
      peer.write(Buffer.alloc(3000, round))
      let length = 0
      for (let bytes = await reading; ; bytes = await connection.read()) {
        expect(bytes!.every(byte => byte === round)).toBe(true)
        length += bytes!.length
        if (length === 3000) break
      }
    }
    expect(others.every(other => other.every(byte => byte === 111))).toBe(true)
  })

  test('writes are sent from memory that nothing else refers to', async () => {
    const { connection, peer } = await withPeer()
    for (let round = 0; round < 5; round++) {
      // More than the kernel takes at once: it waits for its peer.
      const writing = Promise.all([1, 2, 3].map(() => connection.write(Buffer.alloc(3_000_000, round))))
      gc()
      await sleep(1)
      gc()
      let length = 0
      for await (const bytes of peer.iterator({ destroyOnReturn: false })) {
        expect((bytes as Buffer).equals(Buffer.alloc((bytes as Buffer).length, round))).toBe(true)
        length += (bytes as Buffer).length
        if (length === 9_000_000) break
      }
      await writing
    }
  })

  test('a listener that nobody asks any more accepts a bounded number, and goes on with the next', async () => {
    const listener = await listen({ port: 0, host: '127.0.0.1' }, 'background')
    const target = listener.address as { port: number; address: string }
    const loop = listener[Symbol.asyncIterator]()
    const clients = await Promise.all(
      Array.from({ length: 300 }, () => connect({ port: target.port, host: '127.0.0.1' }, 'background')),
    )
    const servers = []
    for (const _ of clients) {
      servers.push((await loop.next()).value!)
      if (servers.length % 50 === 0) await sleep(5)
    }
    await Promise.all(servers.map((server, index) => server.write(`${index}`)))
    const answers = await Promise.all(clients.map(async client => String(await client.read())))
    expect(answers.toSorted()).toEqual(clients.map((_, index) => `${index}`).toSorted())
    await Promise.all([...clients, ...servers].map(one => one.close()))
    await listener.close()
  })
})

async function withPeer() {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const connecting = connect({ port, host: '127.0.0.1' }, 'user-visible')
  const [peer] = (await once(server, 'connection')) as [Socket]
  server.close()
  const connection = await connecting
  onTestFinished(async () => {
    peer.on('error', () => {}).destroy()
    await connection.close()
  })
  return { connection, peer }
}
