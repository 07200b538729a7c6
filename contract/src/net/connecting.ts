import assert from 'node:assert/strict'
import { connect as nodeConnect } from 'node:net'
import { join } from 'node:path'
import { file, isWine } from '../files.ts'
import { rejection } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { accept, families, nodeServer, placeOf, targetOf } from './pairs.ts'

/** What node:net says to the same. */
function nodeError(target: object): Promise<NodeJS.ErrnoException & { address?: string; port?: number }> {
  return new Promise((resolve, reject) => {
    nodeConnect(target as { port: number }, () => reject(new Error('node:net has connected'))).on(
      'error',
      resolve,
    )
  })
}

async function freePort(): Promise<number> {
  const { server, port } = await nodeServer()
  await new Promise(resolve => server.close(resolve))
  return port
}

export const connecting: NetContract[] = [
  ...families.map(
    (family): NetContract => ({
      name: `${family}: what one end writes the other reads, and each knows where the other is`,
      async run(net, test) {
        if (family === 'abstract' && process.platform !== 'linux')
          return test.skip('only Linux has abstract names')
        const listener = await net.listen(placeOf(family, test), 'user-visible')
        const accepted = accept(listener)
        const client = await net.connect(targetOf(listener), 'user-visible')
        const server = await accepted
        await client.write('to the server')
        assert.equal(String(await server.read()), 'to the server')
        await server.write('and back')
        assert.equal(String(await client.read()), 'and back')
        assert.deepEqual(client.remoteAddress, listener.address)
        assert.deepEqual(server.localAddress, listener.address)
        assert.deepEqual(server.remoteAddress, client.localAddress)
        if (family === 'IPv4' || family === 'IPv6') assert.equal(listener.address.family, family)
        await Promise.all([client.close(), server.close(), listener.close()])
      },
    }),
  ),
  {
    name: 'without a host all addresses of the machine are listened at, and localhost is connected to',
    async run(net) {
      const listener = await net.listen({ port: 0 }, 'user-visible')
      const { address } = listener
      assert.ok(address.family !== 'Unix' && address.port > 0)
      const client = await net.connect({ port: address.port }, 'user-visible')
      const server = await accept(listener)
      const byNumber = await net.connect({ port: address.port, host: '127.0.0.1' }, 'user-visible')
      const second = await accept(listener)
      await Promise.all([client, server, byNumber, second].map(one => one.close()))
      await listener.close()
    },
  },
  {
    name: 'a name with several addresses is connected to by the one that answers',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const { address } = listener
      assert.ok(address.family !== 'Unix')
      const client = await net.connect({ port: address.port, host: 'localhost' }, 'user-visible') // ::1 as well, perhaps
      assert.deepEqual(client.remoteAddress, address)
      await client.close()
      await listener.close()
    },
  },
  {
    name: 'a port that nobody listens at is ECONNREFUSED, as in node:net',
    async run(net) {
      const target = { port: await freePort(), host: '127.0.0.1' }
      assertSame(await rejection(net.connect(target, 'user-visible')), await nodeError(target))
    },
  },
  {
    name: 'a path where nothing is is ENOENT, and one that is no socket ECONNREFUSED, as in node:net',
    async run(net, test) {
      if (process.platform === 'win32') return test.skip('node:net takes a path for a named pipe’s there')
      const missing = { path: join(test.folder, 'missing') }
      assertSame(await rejection(net.connect(missing, 'user-visible')), await nodeError(missing))
      const noSocket = { path: file(test, 'file', 'content') }
      assertSame(await rejection(net.connect(noSocket, 'user-visible')), await nodeError(noSocket))
    },
  },
  {
    name: 'an address that cannot be reached has the code that node:net gives',
    async run(net) {
      // A multicast address takes no stream: the kernel knows at once.
      const target = { port: 9, host: '224.0.0.1' }
      assertSame(await rejection(net.connect(target, 'user-visible')), await nodeError(target))
    },
  },
  {
    name: 'a name that nobody has is ENOTFOUND',
    async run(net) {
      const error = await rejection(net.connect({ port: 9, host: 'nobody.invalid' }, 'user-visible'))
      assert.ok(['ENOTFOUND', 'EAI_AGAIN'].includes(error.code!), error.code)
      assert.equal(error.syscall, 'getaddrinfo')
    },
  },
  {
    name: 'a port in use is EADDRINUSE, and free again when its listener is closed',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const target = targetOf(listener)
      const error = await rejection(net.listen(target, 'user-visible'))
      assert.deepEqual([error.code, error.syscall], ['EADDRINUSE', 'listen'])
      await listener.close()
      const again = await net.listen(target, 'user-visible')
      assert.deepEqual(again.address, listener.address)
      await again.close()
    },
  },
  {
    name: 'a port is listened at again though connections of before have ended a moment ago',
    async run(net) {
      const listener = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
      const target = targetOf(listener)
      const accepted = accept(listener)
      const client = await net.connect(target, 'user-visible')
      const server = await accepted
      await server.end() // this end keeps TIME_WAIT
      assert.equal(await client.read(), null)
      await client.end()
      assert.equal(await server.read(), null)
      await Promise.all([server.close(), client.close(), listener.close()])
      const again = await net.listen(target, 'user-visible')
      await again.close()
    },
  },
  {
    name: 'a path in use is EADDRINUSE, and its file goes with its listener',
    async run(net, test) {
      if (isWine) return test.skip('wine gives the name of a pipe to several')
      const place = placeOf('Unix', test)
      const listener = await net.listen(place, 'user-visible')
      const error = await rejection(net.listen(place, 'user-visible'))
      assert.deepEqual([error.code, error.syscall], ['EADDRINUSE', 'listen'])
      await listener.close()
      const again = await net.listen(place, 'user-visible')
      await again.close()
    },
  },
  {
    name: 'an address that is not of this machine is EADDRNOTAVAIL',
    async run(net) {
      const error = await rejection(net.listen({ port: 0, host: '192.0.2.1' }, 'user-visible'))
      assert.deepEqual([error.code, error.syscall], ['EADDRNOTAVAIL', 'listen'])
    },
  },
  {
    name: 'a folder that is missing is what node:net says',
    async run(net, test) {
      const error = await rejection(
        net.listen({ path: join(test.folder, 'missing', 'path') }, 'user-visible'),
      )
      if (error.code === 'EAFNOSUPPORT') return test.skip('this Windows has no Unix-domain sockets')
      assert.ok(['ENOENT', 'EACCES'].includes(error.code!), error.code)
      assert.equal(error.syscall, 'listen')
    },
  },
]

function assertSame(
  given: NodeJS.ErrnoException & { address?: string; port?: number },
  expected: NodeJS.ErrnoException & { address?: string; port?: number },
): void {
  const of = ({ code, errno, syscall, address, port }: typeof given) => ({
    code,
    errno,
    syscall,
    address,
    port,
  })
  assert.deepEqual(of(given), of(expected))
}
