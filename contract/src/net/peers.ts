import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { KiB, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { accept, nodeSocket, pair, readAll, withNode } from './pairs.ts'

export const peers: NetContract[] = [
  {
    name: 'a peer that resets: reads are ECONNRESET, now and later, and so are writes or EPIPE',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const read = rejection(connection.read())
      socket.resetAndDestroy()
      const error = await read
      assert.deepEqual([error.code, error.syscall], ['ECONNRESET', 'read'])
      assert.equal((await rejection(connection.read())).code, 'ECONNRESET')
      const write = await rejection(connection.write('x'))
      assert.ok(['EPIPE', 'ECONNRESET'].includes(write.code!), write.code)
      assert.equal(await rejection(connection.write('y')), write)
      await close()
    },
  },
  {
    name: 'a peer that resets while much is written to it: every write fails',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const writes = [pattern(8 * MiB), pattern(10), pattern(0)].map(bytes =>
        rejection(connection.write(bytes)),
      )
      await turns(20)
      socket.resetAndDestroy()
      for (const { code } of await Promise.all(writes))
        assert.ok(['EPIPE', 'ECONNRESET'].includes(code!), code)
      await close()
    },
  },
  {
    name: 'a peer that sends a byte at a time is read a byte at a time',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      socket.setNoDelay(true)
      const all: Buffer[] = []
      for (let value = 0; value < 200; value++) {
        const read = connection.read()
        socket.write(Uint8Array.of(value))
        all.push((await read)!)
      }
      assert.deepEqual(Buffer.concat(all), Buffer.from(Array.from({ length: 200 }, (_, i) => i)))
      await close()
    },
  },
  {
    name: 'a peer that stalls in the middle holds up nobody else',
    async run(net, test) {
      const stalling = await withNode(net)
      const { client, server, close } = await pair(net, test)
      stalling.socket.write('half of')
      assert.equal(String(await stalling.connection.read()), 'half of')
      const rest = stalling.connection.read()
      for (let round = 0; round < 50; round++) {
        await client.write('x')
        assert.equal(String(await server.read()), 'x')
      }
      stalling.socket.write(' it')
      assert.equal(String(await rest), ' it')
      await Promise.all([stalling.close(), close()])
    },
  },
  {
    name: 'a peer that never reads: a program that waits for its writes holds no more than one of them',
    async run(net) {
      const { connection, close } = await withNode(net)
      let written = 0
      const writer = (async () => {
        for (;;) {
          await connection.write(pattern(64 * KiB))
          written++
        }
      })()
      writer.catch(() => {})
      // The kernel's buffers take some, and grow for a while.
      for (let before = -1; written > before; await setTimeout(300)) before = written
      assert.ok(written < 1000, `${written} pieces`)
      assert.ok(connection.queuedBytes <= 64 * KiB)
      await connection.close()
      await assert.rejects(writer, { code: 'ERR_SOCKET_CLOSED' })
      await close()
    },
  },
  {
    name: 'a peer that sends what nobody reads is held up, and gets no memory',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const before = process.memoryUsage()
      const piece = Buffer.alloc(MiB)
      let sent = 0
      const send = () => {
        while (sent < 256 && socket.write(piece, () => sent++));
      }
      socket.on('drain', send)
      socket.write('first')
      assert.ok(await connection.read()) // it has been read once, and never again
      send()
      await setTimeout(200)
      assert.ok(sent < 64, `${sent} MiB`)
      const after = process.memoryUsage()
      assert.ok(after.arrayBuffers - before.arrayBuffers < 8 * MiB)
      await close()
    },
  },
  {
    name: 'peers that connect and vanish by the thousand harm no listener',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      let seen = 0
      const loop = (async () => {
        for await (const connection of listener) {
          seen++
          void (async () => {
            await readAll(connection).catch(() => {})
            await connection.close()
          })()
        }
      })()
      for (let round = 0; round < 20; round++) {
        const sockets = await Promise.all(Array.from({ length: 50 }, () => nodeSocket(listener)))
        for (const [index, socket] of sockets.entries()) {
          if (index % 3 === 0) socket.write('x')
          if (index % 2 === 0) socket.resetAndDestroy()
          else socket.destroy()
        }
      }
      const accepted = accept(listener).catch(() => undefined)
      const last = await nodeSocket(listener)
      last.write('still there?')
      await Promise.race([accepted, setTimeout(100)])
      // Windows gives nobody those that have been reset before their turn.
      assert.ok(seen > (process.platform === 'win32' ? 0 : 500), `${seen}`)
      await listener.close()
      await loop
      last.destroy()
    },
  },
  {
    name: 'a peer that ends and resets at once: what it has sent before may come, then the end or ECONNRESET',
    async run(net) {
      for (let round = 0; round < 20; round++) {
        const { connection, socket, close } = await withNode(net)
        socket.write('bytes')
        await turns(round % 4)
        if (round % 2 === 0) socket.resetAndDestroy()
        else socket.destroy()
        const outcome = await readAll(connection).then(String, (error: NodeJS.ErrnoException) => error.code)
        assert.ok(['bytes', '', 'ECONNRESET'].includes(outcome!), outcome)
        await close()
      }
    },
  },
  {
    name: 'a write to a peer that has closed fails, and not the process',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      socket.destroy()
      await once(socket, 'close')
      let error: NodeJS.ErrnoException | undefined
      for (let round = 0; round < 100 && error === undefined; round++) {
        await connection.write('x').catch(reason => (error = reason))
        await turns(1)
      }
      assert.ok(['EPIPE', 'ECONNRESET'].includes(error?.code ?? ''), error?.code)
      assert.equal(error?.syscall, 'write')
      await close()
    },
  },
]
