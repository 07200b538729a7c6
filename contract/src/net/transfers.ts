import assert from 'node:assert/strict'
import { once } from 'node:events'
import { KiB, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { families, pair, readAll, readBytes, withNode } from './pairs.ts'

export const transfers: NetContract[] = [
  ...families.map(
    (family): NetContract => ({
      name: `${family}: much goes through as it was, both ways at once`,
      async run(net, test) {
        if (family === 'abstract' && process.platform !== 'linux')
          return test.skip('only Linux has abstract names')
        const { client, server, close } = await pair(net, test, 'user-visible', family)
        const [there, back] = [pattern(5 * MiB, 1), pattern(3 * MiB, 2)]
        const [atServer, atClient] = await Promise.all([
          readBytes(server, there.length),
          readBytes(client, back.length),
          client.write(there),
          server.write(back),
        ])
        assert.ok(atServer.equals(there) && atClient.equals(back))
        await close()
      },
    }),
  ),
  {
    name: 'a read is at least one byte and at most 64 KiB, and is the reader’s own',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const write = client.write(pattern(MiB))
      const all: Buffer[] = []
      for (let bytes = 0; bytes < MiB; bytes += all.at(-1)!.length) {
        all.push((await server.read())!)
        assert.ok(all.at(-1)!.length >= 1 && all.at(-1)!.length <= 64 * KiB)
      }
      await write
      assert.ok(Buffer.concat(all).equals(pattern(MiB)))
      await close()
    },
  },
  {
    name: 'writes that nobody waits for arrive in their order, whatever their priorities and sizes',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const sizes = [1, 0, 70 * KiB, 3, 0, 0, 300 * KiB, ...Array.from({ length: 300 }, (_, i) => i % 7)]
      const parts = sizes.map((size, i) => pattern(size, i % 50))
      const priorities = ['background', 'realtime', 'user-visible', 'user-blocking'] as const
      const writes = parts.map((part, i) => client.write(part, priorities[i % 4]!))
      const expected = Buffer.concat(parts)
      assert.ok((await readBytes(server, expected.length)).equals(expected))
      await Promise.all(writes)
      await close()
    },
  },
  {
    name: 'small writes of one turn arrive together',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const chunks: Buffer[] = []
      socket.on('data', bytes => chunks.push(bytes)).resume()
      const writes = Array.from({ length: 50 }, (_, i) => connection.write(`${i},`))
      const expected = Array.from({ length: 50 }, (_, i) => `${i},`).join('')
      await Promise.all(writes)
      while (Buffer.concat(chunks).length < expected.length) await turns(1)
      assert.equal(Buffer.concat(chunks).toString(), expected)
      assert.ok(chunks.length < 5, `${chunks.length} pieces`)
      await close()
    },
  },
  {
    name: 'a string is sent as UTF-8, a view its own part only, and nothing resolves',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      await client.write('ø€')
      await client.write('')
      await client.write(new Uint8Array(0))
      await client.write(Buffer.from('-abc-').subarray(1, 4))
      assert.equal(String(await readBytes(server, 8)), 'ø€abc')
      await close()
    },
  },
  {
    name: 'after end the peer reads the end, and this end reads on',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const write = client.write(pattern(300 * KiB))
      const ended = client.end()
      assert.ok((await readAll(server)).equals(pattern(300 * KiB)))
      await Promise.all([write, ended])
      assert.equal(await server.read(), null)
      await server.write('and now me')
      await server.end()
      assert.equal(String(await readAll(client)), 'and now me')
      assert.equal(await client.read(), null)
      await close()
    },
  },
  {
    name: 'end comes after all writes, is one promise however often, and a write after it is refused',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const writes = [connection.write('a'), connection.write('b')]
      const ends = [connection.end(), connection.end()]
      const error = await rejection(connection.write('c'))
      assert.equal(error.code, 'ERR_STREAM_WRITE_AFTER_END')
      let text = ''
      socket
        .setEncoding('utf8')
        .on('data', chunk => (text += chunk))
        .resume()
      await once(socket, 'end')
      assert.equal(text, 'ab')
      await Promise.all([...writes, ...ends])
      await close()
    },
  },
  {
    name: 'a peer that ends its half is written to',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      socket.end('bye')
      assert.equal(String(await readAll(connection)), 'bye')
      let text = ''
      socket
        .setEncoding('utf8')
        .on('data', chunk => (text += chunk))
        .resume()
      const ended = once(socket, 'end')
      await connection.write('not yet')
      await connection.end()
      await ended
      assert.equal(text, 'not yet')
      await close()
    },
  },
  {
    name: 'queuedBytes says what the kernel has not taken, and a write resolves when it has',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      assert.equal(connection.queuedBytes, 0)
      const write = connection.write(pattern(8 * MiB)) // more than any socket's buffer
      await turns(50)
      assert.ok(connection.queuedBytes > 0 && connection.queuedBytes <= 8 * MiB)
      socket.resume()
      await write
      assert.equal(connection.queuedBytes, 0)
      await close()
    },
  },
  {
    name: 'noDelay is on at first, keepAlive off, and both are what they were set to',
    async run(net, test) {
      const { client, close } = await pair(net, test)
      assert.deepEqual([client.noDelay, client.keepAlive], [true, false])
      client.noDelay = false
      client.keepAlive = true
      assert.deepEqual([client.noDelay, client.keepAlive], [false, true])
      assert.throws(() => (client.noDelay = 1 as never), { code: 'ERR_INVALID_ARG_TYPE' })
      assert.throws(() => (client.keepAlive = 'on' as never), { code: 'ERR_INVALID_ARG_TYPE' })
      await client.write('x')
      await close()
    },
  },
]
