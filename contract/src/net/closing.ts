import assert from 'node:assert/strict'
import { once } from 'node:events'
import { MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { pair, readBytes, withNode } from './pairs.ts'

const closed = 'ERR_SOCKET_CLOSED'

export const closing: NetContract[] = [
  {
    name: 'what is asked of a closed connection is ERR_SOCKET_CLOSED, and closing again is the same promise',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const closes = [client.close(), client.close(), client[Symbol.asyncDispose]()]
      assert.equal((await rejection(client.read())).code, closed)
      assert.equal((await rejection(client.write('x'))).code, closed)
      await Promise.all(closes)
      assert.equal((await rejection(client.read())).code, closed)
      assert.equal((await rejection(client.write('x'))).code, closed)
      assert.equal((await rejection(client.end())).code, closed)
      assert.equal(await server.read(), null)
      client.noDelay = false // nobody is told
      client.keepAlive = true
      await close()
    },
  },
  {
    name: 'while reads wait: they reject, and the peer reads the end',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const reads = [rejection(connection.read()), rejection(connection.read('realtime'))]
      await turns(3)
      await connection.close()
      for (const error of await Promise.all(reads)) assert.equal(error.code, closed)
      await once(socket.resume(), 'end')
      await close()
    },
  },
  {
    name: 'in the same turn as a read and a write: both settle',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const read = rejection(client.read())
      const write = client.write('x').then(
        () => undefined,
        (error: NodeJS.ErrnoException) => error.code,
      )
      await client.close()
      assert.equal((await read).code, closed)
      assert.ok([undefined, closed].includes(await write))
      await server.read().catch(() => {})
      await close()
    },
  },
  {
    name: 'while writes wait for the peer: they reject, and their bytes are theirs again',
    async run(net) {
      const { connection, close } = await withNode(net)
      const writes = [pattern(8 * MiB), pattern(100), pattern(0)].map(bytes =>
        rejection(connection.write(bytes)),
      )
      await turns(30)
      await connection.close()
      for (const error of await Promise.all(writes)) assert.equal(error.code, closed)
      assert.equal(connection.queuedBytes, 0)
      await close()
    },
  },
  {
    name: 'while an end waits for its writes: it rejects',
    async run(net) {
      const { connection, close } = await withNode(net)
      const write = rejection(connection.write(pattern(8 * MiB)))
      const end = rejection(connection.end())
      await turns(10)
      await connection.close()
      assert.equal((await write).code, closed)
      assert.equal((await end).code, closed)
      await close()
    },
  },
  {
    name: 'after an end the peer still gets everything',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      await client.write(pattern(100_000))
      await client.end()
      await client.close()
      assert.ok((await readBytes(server, 100_000)).equals(pattern(100_000)))
      assert.equal(await server.read(), null)
      await close()
    },
  },
  {
    name: 'of a loop: it ends with ERR_SOCKET_CLOSED, and leaving one closes nothing',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      await client.write('first')
      for await (const bytes of server) {
        assert.equal(String(bytes), 'first')
        break
      }
      const loop = rejection(
        (async () => {
          for await (const _ of server);
        })(),
      )
      await client.write('second')
      await turns(5)
      await server.close()
      assert.equal((await loop).code, closed)
      await close()
    },
  },
  {
    name: 'the addresses of a closed connection are those that it was asked for',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const { localAddress, remoteAddress } = client
      await close()
      assert.deepEqual([client.localAddress, client.remoteAddress], [localAddress, remoteAddress])
      assert.equal(server.localAddress, undefined)
    },
  },
]
