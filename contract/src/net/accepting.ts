import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { rejection } from '../outcomes.ts'
import { inChild } from './child.ts'
import type { Connection, NetContract } from './contract.ts'
import { accept, nodeSocket, targetOf } from './pairs.ts'

export const accepting: NetContract[] = [
  {
    name: 'a loop gets the connections in the order in which they came',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const sockets = []
      for (let count = 0; count < 10; count++) sockets.push(await nodeSocket(listener))
      const ports: number[] = []
      for await (const connection of listener) {
        const { remoteAddress } = connection
        assert.ok(remoteAddress?.family === 'IPv4')
        ports.push(remoteAddress.port)
        await connection.close()
        if (ports.length === 10) break
      }
      assert.deepEqual(
        ports,
        sockets.map(socket => socket.localPort),
      )
      for (const socket of sockets) socket.destroy()
    },
  },
  {
    name: 'leaving the loop closes the listener, and what has not been asked for',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const first = nodeSocket(listener)
      for await (const connection of listener) {
        await connection.close()
        break
      }
      const error = await rejection(net.connect(targetOf(listener), 'user-visible'))
      assert.equal(error.code, 'ECONNREFUSED')
      ;(await first).destroy()
    },
  },
  {
    name: 'closing a listener ends the loops that wait, and no connection that it has given',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const accepted = accept(listener)
      const client = await net.connect(targetOf(listener), 'user-visible')
      const server = await accepted
      const waiting = [0, 1].map(() => listener[Symbol.asyncIterator]().next())
      await listener.close()
      for (const next of waiting) assert.deepEqual(await next, { done: true, value: undefined })
      assert.equal((await listener[Symbol.asyncIterator]().next()).done, true)
      await client.write('still there')
      assert.equal(String(await server.read()), 'still there')
      await Promise.all([client.close(), server.close(), listener.close(), listener[Symbol.asyncDispose]()])
    },
  },
  {
    name: 'the signal of its caller stops a listener, and no connection that it has given',
    async run(net) {
      const controller = new AbortController()
      const caller = { priority: 'user-visible' as const, signal: controller.signal }
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, caller)
      const accepted = accept(listener)
      const client = await net.connect(targetOf(listener), 'user-visible')
      const server = await accepted
      const waiting = rejection(listener[Symbol.asyncIterator]().next())
      controller.abort('enough')
      assert.equal(await waiting, 'enough')
      assert.equal(await rejection(listener[Symbol.asyncIterator]().next()), 'enough')
      await listener.close()
      assert.equal((await rejection(net.connect(targetOf(listener), 'user-visible'))).code, 'ECONNREFUSED')
      await server.write('still there')
      assert.equal(String(await client.read()), 'still there')
      await Promise.all([client.close(), server.close()])
    },
  },
  {
    name: 'a signal that has aborted before listens nowhere',
    async run(net) {
      const caller = { priority: 'user-visible' as const, signal: AbortSignal.abort('enough') }
      assert.equal(await rejection(net.listen({ port: 0, host: '127.0.0.1' }, caller)), 'enough')
    },
  },
  {
    name: 'a connection starts at the priority of its listener, and is not cancelled with it',
    async run(net) {
      const controller = new AbortController()
      const listener = await net.listen(
        { port: 0, host: '127.0.0.1' },
        { priority: 'background', signal: controller.signal },
      )
      const accepted = accept(listener)
      const client = await net.connect(targetOf(listener), 'realtime')
      const server = await accepted
      const priorityOf = ({ caller }: Connection) => (typeof caller === 'string' ? caller : caller.priority)
      assert.deepEqual([priorityOf(server), priorityOf(client)], ['background', 'realtime'])
      controller.abort('enough')
      const read = server.read()
      await client.write('x')
      assert.equal(String(await read), 'x')
      await Promise.all([client.close(), server.close(), listener.close()])
    },
  },
  {
    name: 'connections that nobody asks for wait, and are closed with the listener',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const accepted = accept(listener)
      const sockets = await Promise.all(Array.from({ length: 100 }, () => nodeSocket(listener)))
      const server = await accepted
      // What the kernel still has by then, it resets.
      const ends = sockets.map(
        socket =>
          new Promise(resolve =>
            socket
              .resume()
              .on('error', () => {})
              .once('close', resolve),
          ),
      )
      await setTimeout(50)
      await listener.close()
      await server.close()
      for (const socket of sockets) socket.end()
      await Promise.all(ends)
    },
  },
  {
    name: 'where no more files may be open the listener says EMFILE, and goes on when there are some again',
    async run(_, test) {
      if (process.platform !== 'linux') return test.skip('only Linux shows what is open')
      const { stdout, stderr, code } = await inChild(
        test,
        `const errors = []
         const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible', {
           onError: error => errors.push(error.code + ' ' + error.syscall),
         })
         const connections = []
         void (async () => {
           for await (const connection of listener) connections.push(connection)
         })()
         const client = spawn(process.execPath, ['-e', \`
           const again = () => require('node:net').connect(\${listener.address.port}, '127.0.0.1')
             .on('error', () => {}).on('close', () => setTimeout(again, 100)).resume()
           for (let i = 0; i < 60; i++) again()\`], { stdio: 'ignore' })
         for (let before = -1; connections.length === 0 || connections.length > before; await sleep(300))
           before = connections.length
         const most = connections.length
         for (const connection of connections.splice(0)) await connection.close()
         while (connections.length === 0) await sleep(10)
         console.log(errors[0], most > 10 && most < 60)
         client.kill()
         await listener.close()
         for (const connection of connections) await connection.close()`,
        { shell: 'ulimit -n 64; exec "$@"' },
      )
      // libuv drops those that it has no fd for, and tells nobody: uv__emfile_trick.
      const said = test.url.includes('node-socket') ? 'undefined' : 'EMFILE accept'
      assert.deepEqual({ stdout, stderr, code }, { stdout: `${said} true\n`, stderr: '', code: 0 })
    },
  },
]
