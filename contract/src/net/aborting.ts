import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { Asker } from '@kiruna/priority'
import { MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { pair, readAll, readBytes, withNode } from './pairs.ts'

/** A caller, and what aborts it. */
export function abortable(): { controller: AbortController; caller: Asker } {
  const controller = new AbortController()
  return { controller, caller: { priority: 'user-visible', signal: controller.signal } }
}

export const aborting: NetContract[] = [
  {
    name: 'before: nothing begins, and each rejects with the signal’s reason',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const caller = { priority: 'user-visible' as const, signal: AbortSignal.abort('enough') }
      assert.equal(await rejection(net.connect({ port: 9, host: '127.0.0.1' }, caller)), 'enough')
      assert.equal(await rejection(server.read(caller)), 'enough')
      assert.equal(await rejection(client.write('x', caller)), 'enough')
      await client.write('y')
      assert.equal(String(await server.read()), 'y')
      await close()
    },
  },
  {
    name: 'an aborted read rejects at once and has taken nothing',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const { controller, caller } = abortable()
      const reads = [rejection(server.read(caller)), rejection(server.read(caller))]
      await turns(5)
      controller.abort('enough')
      assert.deepEqual(await Promise.all(reads), ['enough', 'enough'])
      await client.write('all of it')
      assert.equal(String(await server.read()), 'all of it')
      await close()
    },
  },
  {
    name: 'whenever a read is aborted, no byte is lost and none comes twice',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const expected = pattern(2 * MiB)
      const write = (async () => {
        for (let at = 0; at < expected.length; at += 16_000)
          await client.write(expected.subarray(at, at + 16_000))
        await client.end()
      })()
      const all: Buffer[] = []
      for (let round = 0, ended = false; !ended; round++) {
        const { controller, caller } = abortable()
        const read = server.read(caller).then(
          bytes => {
            if (bytes === null) ended = true
            else all.push(bytes)
          },
          reason => assert.equal(reason, 'enough'),
        )
        if (round % 3 > 0) await turns(round % 3)
        controller.abort('enough')
        await read
      }
      await write
      assert.ok(Buffer.concat(all).equals(expected))
      await close()
    },
  },
  {
    name: 'one of several reads is aborted, and the others go on',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const { controller, caller } = abortable()
      const reads = [server.read(), rejection(server.read(caller)), server.read()] as const
      controller.abort('enough')
      assert.equal(await reads[1], 'enough')
      await client.write('1')
      assert.equal(String(await reads[0]), '1')
      await client.write('2')
      assert.equal(String(await reads[2]), '2')
      await close()
    },
  },
  {
    name: 'an abort after the outcome changes nothing',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const { controller, caller } = abortable()
      await client.write('x', caller)
      assert.equal(String(await server.read(caller)), 'x')
      controller.abort('too late')
      await client.write('y')
      assert.equal(String(await server.read()), 'y')
      await close()
    },
  },
  {
    name: 'a write that is aborted before any of it is sent leaves no trace',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const { controller, caller } = abortable()
      const first = connection.write(pattern(8 * MiB)) // the socket's buffer is full with it
      await turns(20)
      const aborted = [
        rejection(connection.write('never', caller)),
        rejection(connection.write('never', caller)),
      ]
      const last = connection.write('last')
      await turns(5)
      controller.abort('enough')
      assert.deepEqual(await Promise.all(aborted), ['enough', 'enough'])
      const ended = connection.end()
      const all: Buffer[] = []
      for await (const bytes of socket) all.push(bytes as Buffer)
      await Promise.all([first, last, ended])
      const sent = Buffer.concat(all)
      assert.equal(sent.length, 8 * MiB + 4)
      assert.equal(String(sent.subarray(8 * MiB)), 'last')
      await close()
    },
  },
  {
    name: 'a write that is aborted when a part is sent fails with the reason, and so does all behind it',
    async run(net) {
      const { connection, close } = await withNode(net)
      const { controller, caller } = abortable()
      const first = rejection(connection.write(pattern(8 * MiB), caller))
      const behind = rejection(connection.write('behind'))
      while (connection.queuedBytes >= 8 * MiB) await turns(1) // on some systems a thread sends it
      controller.abort('enough')
      assert.deepEqual(await Promise.all([first, behind]), ['enough', 'enough'])
      assert.equal(await rejection(connection.write('x')), 'enough')
      assert.equal(await rejection(connection.end()), 'enough')
      assert.equal(connection.queuedBytes, 0)
      await close()
    },
  },
  {
    name: 'of writes that go together one is aborted in the same turn, and the others arrive',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const { controller, caller } = abortable()
      const writes = [client.write('1'), rejection(client.write('2', caller)), client.write('3')] as const
      controller.abort('enough')
      const ended = client.end()
      await Promise.all([writes[0], writes[2], ended])
      assert.equal(await writes[1], 'enough')
      assert.equal(String(await readAll(server)), '13')
      await close()
    },
  },
  {
    name: 'an aborted connect rejects at once, and what comes of it is closed',
    async run(net) {
      let connected = 0
      const server = createServer(socket => {
        connected++
        socket.on('close', () => connected--).on('error', () => {})
        socket.resume()
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as { port: number }
      for (let round = 0; round < 30; round++) {
        const { controller, caller } = abortable()
        const host = round % 2 === 0 ? '127.0.0.1' : 'localhost'
        const connect = net.connect({ port, host }, caller).then(
          connection => connection.close(),
          reason => assert.equal(reason, 'enough'),
        )
        if (round % 3 > 0) await turns(round % 3)
        controller.abort('enough')
        await connect
      }
      for (let wait = 0; wait < 1000 && connected > 0; wait++) await turns(5)
      assert.equal(connected, 0)
      await new Promise(resolve => server.close(resolve))
    },
  },
  {
    name: 'a new caller whose signal has aborted ends the reads that wait, and one whose signal aborts later',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const first = rejection(server.read())
      await turns(2)
      server.caller = { priority: 'user-visible', signal: AbortSignal.abort('before') }
      assert.equal(await first, 'before')
      const { controller, caller } = abortable()
      server.caller = 'background'
      const second = rejection(server.read())
      server.caller = caller
      await turns(2)
      controller.abort('later')
      assert.equal(await second, 'later')
      server.caller = 'user-visible'
      await client.write('x')
      assert.equal(String(await readBytes(server, 1)), 'x')
      await close()
    },
  },
]
