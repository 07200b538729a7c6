import assert from 'node:assert/strict'
import type { Priority } from '@kiruna/priority'
import { turns } from '../outcomes.ts'
import type { Connection, NetContract } from './contract.ts'
import { accept, pair, targetOf, withNode } from './pairs.ts'

const priorities: Priority[] = ['background', 'user-visible', 'user-blocking', 'realtime']

/** A caller whose priority can be changed, and which tells of it. */
class Changing {
  priority: Priority
  readonly #listeners = new Set<() => void>()

  constructor(priority: Priority) {
    this.priority = priority
  }

  change(priority: Priority): void {
    this.priority = priority
    for (const listener of this.#listeners) listener()
  }

  onPriorityChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get listeners(): number {
    return this.#listeners.size
  }
}

export const callers: NetContract[] = [
  {
    name: 'a realtime read is settled before 64 background ones that come in the same turn',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'background')
      const pairs: { client: Connection; server: Connection }[] = []
      for (let count = 0; count < 65; count++) {
        const accepted = accept(listener)
        const client = await net.connect(targetOf(listener), 'background')
        pairs.push({ client, server: await accepted })
      }
      const urgent = pairs[32]!.server // in the middle of what goes down together
      urgent.caller = 'realtime'
      const order: Priority[] = []
      const reads = pairs.map(async ({ server }) => {
        await server.read()
        order.push(server === urgent ? 'realtime' : 'background')
      })
      await turns(20) // all of them wait
      await Promise.all(pairs.map(({ client }) => client.write('x')))
      waitHere(20)
      await Promise.all(reads)
      assert.equal(order[0], 'realtime')
      await Promise.all(pairs.flatMap(({ client, server }) => [client.close(), server.close()]))
      await listener.close()
    },
  },
  {
    name: 'of the reads that wait on one connection the most urgent is first, and those as urgent in their order',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const order: string[] = []
      const asked = [...priorities, ...priorities]
      const reads = asked.map(async (priority, index) => {
        const bytes = await server.read(priority)
        order.push(`${priority} ${index >> 2}`)
        return bytes
      })
      await turns(10)
      for (let count = 0; count < asked.length; count++) {
        await client.write('x')
        while (order.length <= count) await turns(1)
      }
      await Promise.all(reads)
      const expected = priorities.toReversed().flatMap(priority => [`${priority} 0`, `${priority} 1`])
      assert.deepEqual(order, expected)
      await close()
    },
  },
  {
    name: 'changing caller moves the reads that wait, and those that named another stay',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'background')
      const pairs: { client: Connection; server: Connection }[] = []
      for (let count = 0; count < 3; count++) {
        const accepted = accept(listener)
        const client = await net.connect(targetOf(listener), 'background')
        pairs.push({ client, server: await accepted })
      }
      const order: number[] = []
      const reads = pairs.map(async ({ server }, index) => {
        await (index === 1 ? server.read('user-visible') : server.read())
        order.push(index)
      })
      await turns(10)
      pairs[1]!.server.caller = 'background' // its read has named its caller
      pairs[2]!.server.caller = 'realtime'
      await Promise.all(pairs.map(({ client }) => client.write('x')))
      waitHere(20)
      await Promise.all(reads)
      assert.deepEqual(order, [2, 1, 0])
      await Promise.all(pairs.flatMap(({ client, server }) => [client.close(), server.close()]))
      await listener.close()
    },
  },
  {
    name: 'a caller that becomes more urgent moves its read, and is listened to only while it waits',
    async run(net, test) {
      const first = await pair(net, test)
      const second = await pair(net, test)
      const changing = new Changing('background')
      const order: string[] = []
      const reads = [
        first.server.read('user-visible').then(() => order.push('visible')),
        second.server.read(changing).then(() => order.push('changed')),
      ]
      await turns(10)
      assert.equal(changing.listeners, 1)
      changing.change('realtime')
      await Promise.all([first.client.write('x'), second.client.write('x')])
      waitHere(20)
      await Promise.all(reads)
      assert.deepEqual(order, ['changed', 'visible'])
      assert.equal(changing.listeners, 0)
      await Promise.all([first.close(), second.close()])
    },
  },
  {
    name: 'each read and each write goes on when its caller says so',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const jobs: (() => void)[] = []
      const asker = { priority: 'user-visible' as const, deliver: (job: () => void) => void jobs.push(job) }
      let settled = 0
      const read = server.read(asker).finally(() => settled++)
      const write = client.write('bytes', asker).finally(() => settled++)
      while (jobs.length < 2) await turns(1)
      await turns(20)
      assert.deepEqual([jobs.length, settled], [2, 0])
      for (const job of jobs) job()
      assert.equal(String(await read), 'bytes')
      await write
      await close()
    },
  },
  {
    name: 'the connection’s own caller delivers what names no other',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const jobs: (() => void)[] = []
      const asker = { priority: 'user-visible' as const, deliver: (job: () => void) => void jobs.push(job) }
      const read = server.read() // before the change, too
      server.caller = asker
      assert.equal(server.caller, asker)
      await client.write('x')
      while (jobs.length < 1) await turns(1)
      jobs.shift()!()
      assert.equal(String(await read), 'x')
      const write = server.write('y')
      while (jobs.length < 1) await turns(1)
      jobs.shift()!()
      await write
      await close()
    },
  },
  {
    name: 'a connection lives on at its priority when the task that opened it has been cancelled',
    async run(net) {
      const controller = new AbortController()
      const { connection, socket, close } = await withNode(net, {
        priority: 'user-blocking',
        signal: controller.signal,
      })
      controller.abort('over')
      const read = connection.read()
      socket.write('x')
      assert.equal(String(await read), 'x')
      await connection.write('y')
      await close()
    },
  },
]

/** Until another thread, which has to be told of each, has told of all of them. */
function waitHere(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
