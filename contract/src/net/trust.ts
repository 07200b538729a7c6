import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { connect as connectNode } from 'node:net'
import { rejection, turns } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { pair } from './pairs.ts'

/** Functions that allocate, and that fail where there is no memory. */
const allocators = ['allocUnsafeSlow', 'allocUnsafe', 'alloc', 'concat'] as const

/** Runs with the nth allocation failing. Returns whether it came to that. */
async function withFailing(nth: number, run: () => Promise<void>): Promise<boolean> {
  let count = 0
  const before = new Map(allocators.map(name => [name, Buffer[name]]))
  for (const [name, allocate] of before) {
    Object.assign(Buffer, {
      [name](...args: unknown[]) {
        if (++count === nth) throw new RangeError('Array buffer allocation failed')
        return Reflect.apply(allocate, Buffer, args)
      },
    })
  }
  try {
    await run()
  } finally {
    Object.assign(Buffer, Object.fromEntries(before))
  }
  return count >= nth
}

function openSockets(): number {
  const links = readdirSync('/proc/self/fd').map(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return '' // the fd that has listed the folder
    }
  })
  return links.filter(link => link.startsWith('socket:')).length
}

export const trust: NetContract[] = [
  {
    name: 'an error names the functions that await it',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const socket = await net.bind({ host: '127.0.0.1' }, 'user-visible')
      const { port } = listener.address as { port: number }
      const calls = [
        () => net.listen({ port, host: '127.0.0.1' }, 'user-visible'),
        () => net.bind({ port: socket.localAddress.port, host: '127.0.0.1' }, 'user-visible'),
        () => net.connect({ port, host: '127.0.0.1' }, 'user-visible'),
        () => net.connect({ path: '/nowhere/at all' }, 'user-visible'),
      ]
      for (const [index, call] of calls.entries()) {
        if (index === 2) await listener.close()
        async function opensServer() {
          return await call()
        }
        async function startsProgram() {
          return await opensServer()
        }
        const { stack } = await rejection(startsProgram())
        assert.match(stack!, /at (async )?opensServer .*\n.*at (async )?startsProgram /, String(call))
      }
      await socket.close()
    },
  },
  {
    name: 'what is received is its reader’s alone: it can be transferred',
    async run(net, test) {
      const pairs = [await pair(net, test), await pair(net, test)]
      const received: Buffer[] = []
      for (const lengthBytes of [5, 3000, 20_000]) {
        for (const [index, { client, server }] of pairs.entries()) {
          await client.write(Buffer.alloc(lengthBytes, index + 1))
          for (let got = 0; got < lengthBytes; ) {
            const bytes = (await server.read())!
            got += bytes.length
            received.push(bytes)
          }
        }
      }
      const owners = new Set(received.map(({ buffer }) => buffer))
      assert.equal(owners.size, received.length)
      const [mine, ...others] = received
      structuredClone(mine, { transfer: [mine!.buffer as ArrayBuffer] })
      for (const bytes of others) assert.ok(bytes.length > 0)
      for (const { close } of pairs) await close()
    },
  },
  {
    name: 'an allocation that fails costs its own call: everything settles, and everything closes',
    async run(net, test) {
      let isOver = false
      for (let nth = 1; !isOver; nth++) {
        const { client, server, close } = await pair(net, test)
        const settled: string[] = []
        const note = (what: string) => (promise: Promise<unknown>) =>
          promise.then(
            () => settled.push(what),
            () => settled.push(what),
          )
        isOver = !(await withFailing(nth, async () => {
          const calls = [
            note('read')(server.read()),
            note('write')(client.write('a string, ä')),
            note('large')(client.write(new Uint8Array(200_000))),
            note('into')(server.readInto(new Uint8Array(10))),
          ]
          await turns(20)
          void Promise.all(calls)
        }))
        await Promise.all([client.close(), server.close()])
        await turns(5)
        assert.deepEqual(settled.sort(), ['into', 'large', 'read', 'write'], `allocation ${nth}`)
        await close()
      }
    },
  },
  {
    name: 'a datagram for the other family is EINVAL, never sent to this machine',
    async run(net) {
      const socket = await net.bind({ host: '127.0.0.1' }, 'user-visible')
      const { port } = socket.localAddress
      for (const host of ['2001:db8::1', '::1', '::', '::ffff:127.0.0.1']) {
        const error = await rejection(socket.send('secret', { port, host }))
        assert.equal(error.code, 'EINVAL', host)
      }
      await socket.send('right', { port, host: '127.0.0.1' })
      assert.equal(String((await socket.receive()).bytes), 'right')
      await socket.close()
    },
  },
  {
    name: 'a datagram whose bytes are taken away while its name is looked up is not sent',
    async run(net) {
      const socket = await net.bind({ host: '127.0.0.1' }, 'user-visible')
      const bytes = new Uint8Array(1000)
      const sent = socket.send(bytes, { port: socket.localAddress.port, host: 'localhost' })
      structuredClone(bytes, { transfer: [bytes.buffer] })
      assert.equal((await rejection(sent)).code, 'ERR_INVALID_STATE')
      await socket.close()
    },
  },
  {
    name: 'no more than 64 connections are accepted ahead of the loop',
    async run(net, test) {
      if (test.url.includes('node-socket')) return test.skip('libuv’s server accepts all that come')
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      if (process.platform !== 'linux') return test.skip('only Linux tells which sockets are open')
      const { port } = listener.address as { port: number }
      const loop = listener[Symbol.asyncIterator]()
      const before = openSockets()
      const first = loop.next()
      const clients = Array.from({ length: 200 }, () => connectNode(port, '127.0.0.1').on('error', () => {}))
      await first
      await Promise.all(clients.map(client => new Promise(resolve => client.once('connect', resolve))))
      await turns(50)
      const accepted = openSockets() - before - clients.length
      assert.ok(accepted > 32 && accepted <= 65, `${accepted} are accepted`)
      for (let count = 1; count < 200; count++) await loop.next()
      await listener.close()
      for (const client of clients) client.destroy()
    },
  },
  {
    name: 'a caller at fault loses its own call; all others go on',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const caller = { priority: 'user-visible' as const }
      const write = client.write('x', caller)
      Object.assign(caller, { priority: 'urgent' })
      const throws = {
        priority: 'user-visible' as const,
        onPriorityChange: () => () => {
          throw new Error('mine')
        },
      }
      const uncaught: unknown[] = []
      const others = process.listeners('uncaughtException')
      process.removeAllListeners('uncaughtException')
      process.on('uncaughtException', error => uncaught.push(error))
      try {
        const read = server.read(throws)
        await Promise.allSettled([write, read])
        await turns(2)
      } finally {
        process.removeAllListeners('uncaughtException')
        for (const other of others) process.on('uncaughtException', other)
      }
      await client.write('y')
      assert.equal(String(await server.read()), 'y')
      await close()
    },
  },
]
