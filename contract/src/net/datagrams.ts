import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Priority } from '@kiruna/priority'
import { rejection } from '../outcomes.ts'
import { inChild } from './child.ts'
import type { BindOptions, Net, NetContract, UdpSocket } from './contract.ts'

const addresses = Object.values(networkInterfaces()).flat()
export const hasIPv6 = addresses.some(one => one?.family === 'IPv6' && one.internal)
export const hasNetwork = addresses.some(one => one?.family === 'IPv4' && !one.internal)

/** Runs with so many sockets, bound as the options say, and closes them. */
export async function bound(
  net: Net,
  options: BindOptions[],
  run: (...sockets: UdpSocket[]) => Promise<void>,
): Promise<void> {
  const sockets = await Promise.all(options.map(one => net.bind(one, 'user-visible')))
  try {
    await run(...sockets)
  } finally {
    await Promise.all(sockets.map(socket => socket.close()))
  }
}

export const local: BindOptions = { host: '127.0.0.1' }

export const datagrams: NetContract[] = [
  {
    name: 'a datagram arrives whole, and is answered',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const { port } = other!.localAddress
        for (const bytes of ['hello', Buffer.alloc(0), Buffer.alloc(8000, 'x'), Uint8Array.of(1, 2)]) {
          await one!.send(bytes, { port, host: '127.0.0.1' })
          const datagram = await other!.receive()
          assert.ok(datagram.bytes.equals(Buffer.from(bytes as string)))
          const { address, family } = datagram
          assert.deepEqual({ address, family, port: datagram.port }, one!.localAddress)
          await other!.send('answer', datagram)
          assert.equal(String((await one!.receive()).bytes), 'answer')
        }
      }),
  },
  {
    name: 'the longest datagram has 65,507 bytes, and one more is EMSGSIZE',
    async run(net, test) {
      if (process.platform === 'darwin')
        return test.skip('macOS sends 9,216 at most, unless it is told otherwise')
      await bound(net, [local, local], async (one, other) => {
        await one!.send(Buffer.alloc(65_507, 'x'), other!.localAddress)
        assert.equal((await other!.receive()).bytes.length, 65_507)
        const error = await rejection(one!.send(Buffer.alloc(65_508), other!.localAddress))
        assert.deepEqual([error.code, error.syscall], ['EMSGSIZE', 'send'])
      })
    },
  },
  {
    name: 'datagrams are received in the order in which they came',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const expected = Array.from({ length: 50 }, (_, index) => `${index}`)
        for (const text of expected) await one!.send(text, other!.localAddress)
        const received = await Promise.all(expected.map(() => other!.receive()))
        assert.deepEqual(
          received.map(({ bytes }) => String(bytes)),
          expected,
        )
      }),
  },
  {
    name: 'datagrams of one turn are all sent',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const sends = Array.from({ length: 100 }, (_, index) => one!.send(`${index}`, other!.localAddress))
        const got = new Set<string>()
        while (got.size < 100) got.add(String((await other!.receive()).bytes))
        await Promise.all(sends)
      }),
  },
  {
    name: 'without a host a socket is for both families, and an IPv4 address is written as one',
    async run(net, test) {
      if (!hasIPv6) return test.skip('there is no IPv6')
      await bound(net, [{}, local, { host: '::1' }], async (both, four, six) => {
        const { port } = both!.localAddress
        assert.deepEqual(both!.localAddress, { address: '::', family: 'IPv6', port })
        for (const [socket, host] of [[four!, '127.0.0.1'] as const, [six!, '::1'] as const]) {
          await socket.send('ping', { port, host })
          const { bytes, ...from } = await both!.receive()
          assert.deepEqual([String(bytes), from], ['ping', socket.localAddress])
          await both!.send('pong', from)
          assert.equal(String((await socket.receive()).bytes), 'pong')
        }
        await four!.send('to this machine', { port })
        assert.equal(String((await both!.receive()).bytes), 'to this machine')
      })
    },
  },
  {
    name: 'ipv6Only has nothing of IPv4',
    async run(net, test) {
      if (!hasIPv6) return test.skip('there is no IPv6')
      await bound(net, [{ ipv6Only: true }], async six => {
        const { port } = six!.localAddress
        await bound(net, [{ ...local, port }], async four => assert.equal(four!.localAddress.port, port))
      })
    },
  },
  {
    name: 'a name is looked up, and one that is not there is an error of the lookup',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        await one!.send('by name', { port: other!.localAddress.port, host: 'localhost' })
        assert.equal(String((await other!.receive()).bytes), 'by name')
        const { code } = await rejection(one!.send('x', { port: 9, host: 'nobody.invalid' }))
        assert.match(code!, /^(ENOTFOUND|EAI_AGAIN)$/)
      }),
  },
  {
    name: 'a loop has all datagrams until the socket is closed',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const received: string[] = []
        const loop = (async () => {
          for await (const { bytes } of other!) received.push(String(bytes))
        })()
        for (const text of ['a', 'b', 'c']) await one!.send(text, other!.localAddress)
        while (received.length < 3) await sleep(1)
        await other!.close()
        await loop
        assert.deepEqual(received, ['a', 'b', 'c'])
      }),
  },
  {
    name: 'leaving a loop leaves the socket open',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        for (const text of ['a', 'b']) await one!.send(text, other!.localAddress)
        for await (const { bytes } of other!) {
          assert.equal(String(bytes), 'a')
          break
        }
        assert.equal(String((await other!.receive()).bytes), 'b')
      }),
  },
  {
    name: 'an aborted receive has taken nothing',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        for (let round = 0; round < 200; round++) {
          const controller = new AbortController()
          const receive = other!.receive({ priority: 'user-visible', signal: controller.signal })
          const outcome = receive.then(
            ({ bytes }) => String(bytes),
            reason => reason,
          )
          const send = one!.send(`${round}`, other!.localAddress)
          if (round % 3 === 0) await send
          if (round % 2 === 0) await sleep(0)
          controller.abort('enough')
          await send
          const told = await outcome
          if (told === 'enough') assert.equal(String((await other!.receive()).bytes), `${round}`)
          else assert.equal(told, `${round}`)
        }
      }),
  },
  {
    name: 'an aborted send rejects with the reason, or the datagram has gone',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const { port } = other!.localAddress
        for (let round = 0; round < 100; round++) {
          const controller = new AbortController()
          const caller = { priority: 'background' as const, signal: controller.signal }
          const host = round % 2 === 0 ? '127.0.0.1' : 'localhost'
          const outcome = one!.send(`${round}`, { port, host }, caller).then(
            () => 'sent',
            reason => reason,
          )
          if (round % 3 === 0) await sleep(0)
          controller.abort('enough')
          const told = await outcome
          if (told === 'sent') assert.equal(String((await other!.receive()).bytes), `${round}`)
          else assert.equal(told, 'enough')
        }
      }),
  },
  {
    name: 'a caller that has been aborted binds, sends and receives nothing',
    run: net =>
      bound(net, [local], async socket => {
        const caller = { priority: 'background' as const, signal: AbortSignal.abort('before') }
        assert.equal(await rejection(net.bind(local, caller)), 'before')
        assert.equal(await rejection(socket!.receive(caller)), 'before')
        assert.equal(await rejection(socket!.send('x', socket!.localAddress, caller)), 'before')
        await socket!.send('y', socket!.localAddress)
        assert.equal(String((await socket!.receive()).bytes), 'y')
      }),
  },
  {
    name: 'the most urgent of those that wait has the next datagram',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const order: Priority[] = []
        const asked: Priority[] = ['background', 'user-visible', 'realtime', 'user-blocking']
        const receives = asked.map(async priority => {
          await other!.receive(priority)
          order.push(priority)
        })
        for (let count = 1; count <= 4; count++) {
          await one!.send('x', other!.localAddress)
          while (order.length < count) await sleep(1)
        }
        await Promise.all(receives)
        assert.deepEqual(order, ['realtime', 'user-blocking', 'user-visible', 'background'])
      }),
  },
  {
    name: 'a receive that waits goes on when the caller says so that the socket is given later',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const jobs: (() => void)[] = []
        let received = ''
        void other!.receive().then(({ bytes }) => (received = String(bytes)))
        other!.caller = { priority: 'background', deliver: job => void jobs.push(job) }
        await one!.send('later', other!.localAddress)
        while (jobs.length === 0) await sleep(1)
        assert.equal(received, '')
        jobs[0]!()
        await sleep(1)
        assert.equal(received, 'later')
      }),
  },
  {
    name: 'closing ends the receives that wait, and sends what has been given',
    run: net =>
      bound(net, [local, local], async (socket, other) => {
        const receives = [socket!.receive(), socket!.receive('realtime')].map(rejection)
        const send = socket!.send('on its way', other!.localAddress)
        await Promise.all([socket!.close(), socket!.close(), send])
        assert.equal(String((await other!.receive()).bytes), 'on its way')
        const after = [
          socket!.receive(),
          socket!.send('x', { port: 9 }),
          socket!.addMembership('224.0.0.251'),
        ]
        for (const { code } of [
          ...(await Promise.all(receives)),
          ...(await Promise.all(after.map(rejection))),
        ]) {
          assert.equal(code, 'ERR_SOCKET_DGRAM_NOT_RUNNING')
        }
        const { port } = socket!.localAddress
        await bound(net, [{ ...local, port }], async again => assert.equal(again!.localAddress.port, port))
      }),
  },
  {
    name: 'what nobody asks for is bounded, and the rest is dropped',
    run: net =>
      bound(net, [local, local], async (one, other) => {
        const sent = 3000
        for (let count = 0; count < sent; count++) await one!.send(Buffer.alloc(1000), other!.localAddress)
        await sleep(20)
        const { droppedCount } = other!
        const controller = new AbortController()
        let receivedAtMs = performance.now()
        let received = 0
        const caller = { priority: 'background' as const, signal: controller.signal }
        const loop = (async () => {
          for (;;) {
            await other!.receive(caller)
            receivedAtMs = performance.now()
            received++
          }
        })().catch(() => {})
        while (performance.now() - receivedAtMs < 100) await sleep(20)
        controller.abort()
        await loop
        assert.ok(received > 0 && received < sent, `${received} received`)
        assert.ok(droppedCount <= sent - received, `${droppedCount} dropped, ${received} received`)
      }),
  },
  {
    name: 'a bound socket does not keep the process alive; a receive does, but not after unref',
    async run(_, test) {
      const output = async (then: string) => {
        const { stdout, stderr } = await inChild(
          test,
          `const socket = await net.bind({ host: '127.0.0.1' }, 'background')
           process.on('exit', () => console.log('exit'))
           ${then}`,
        )
        return stdout + stderr
      }
      assert.equal(await output(''), 'exit\n')
      assert.equal(await output('socket.unref(); socket.receive()'), 'exit\n')
      assert.equal(await output('socket.receive(); socket.unref()'), 'exit\n')
      const received = await output(`
        setTimeout(() => socket.send('x', socket.localAddress), 100).unref()
        socket.receive().then(() => console.log('received'))`)
      assert.equal(received, 'received\nexit\n')
    },
  },
]
