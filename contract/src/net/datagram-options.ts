import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isWine } from '../files.ts'
import { assertRejectsWith, assertSameError, rejection } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { bound, hasIPv6, hasNetwork, local } from './datagrams.ts'

const group = '239.255.13.7'

export const datagramOptions: NetContract[] = [
  {
    name: 'a datagram to a group comes to its members, and no longer when they have left',
    run: net =>
      bound(net, [{ host: '0.0.0.0', reuseAddress: true }], async member => {
        const { port } = member!.localAddress
        const sender = { ...local, multicastInterface: '127.0.0.1', multicastTtl: 0, multicastLoopback: true }
        await bound(net, [{ host: '0.0.0.0', port, reuseAddress: true }, sender], async (second, from) => {
          for (const socket of [member!, second!]) await socket.addMembership(group, '127.0.0.1')
          await from!.send('to all', { port, host: group })
          assert.equal(String((await member!.receive()).bytes), 'to all')
          assert.equal(String((await second!.receive()).bytes), 'to all')
          await member!.dropMembership(group, '127.0.0.1')
          await second!.close()
          await from!.send('to nobody', { port, host: group })
          await from!.send('to one', { port, host: '127.0.0.1' })
          assert.equal(String((await member!.receive()).bytes), 'to one')
        })
      }),
  },
  {
    name: 'a datagram to an IPv6 group comes to its members on that interface',
    async run(net, test) {
      if (process.platform !== 'linux' || !hasIPv6) return test.skip('it is Linux’s lo')
      const sender = { host: '::1', multicastInterface: '::%lo', multicastLoopback: true, multicastTtl: 1 }
      await bound(net, [{ ipv6Only: true }, sender], async (member, from) => {
        const { port } = member!.localAddress
        await member!.addMembership('ff02::4711', '::%lo')
        try {
          await from!.send('six', { port, host: 'ff02::4711%lo' })
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'ENETUNREACH')
          return test.skip('this lo has no multicast')
        }
        assert.equal(String((await member!.receive()).bytes), 'six')
        await member!.dropMembership('ff02::4711', '::%lo')
      })
    },
  },
  {
    name: 'what is no group, and what is no member, are errors of the system',
    run: (net, test) =>
      bound(net, [{ host: '0.0.0.0' }], async socket => {
        const outcome = async (call: Promise<void>) => {
          const { code, syscall } = await rejection(call)
          return [code, syscall]
        }
        assert.deepEqual((await outcome(socket!.addMembership('no address')))[0], 'EINVAL')
        assert.deepEqual(await outcome(socket!.addMembership('127.0.0.1')), ['EINVAL', 'addMembership'])
        if (isWine) return test.skip('wine has EINVAL for what is no member')
        const dropped = await outcome(socket!.dropMembership(group, '127.0.0.1'))
        assert.deepEqual(dropped, ['EADDRNOTAVAIL', 'dropMembership'])
        if (process.platform !== 'linux') return // others do not mind
        await socket!.addMembership(group, '127.0.0.1')
        assert.deepEqual(await outcome(socket!.addMembership(group, '127.0.0.1')), [
          'EADDRINUSE',
          'addMembership',
        ])
      }),
  },
  {
    name: 'a broadcast takes the option for it',
    async run(net, test) {
      if (!hasNetwork) return test.skip('there is no network')
      const to = { port: 9, host: '255.255.255.255' }
      await bound(
        net,
        [{ host: '0.0.0.0' }, { host: '0.0.0.0', broadcast: true, ttl: 1 }],
        async (one, other) => {
          assert.equal((await rejection(one!.send('x', to))).code, 'EACCES')
          await other!.send('x', to).catch(error => assert.equal(error.code, 'ENETUNREACH'))
        },
      )
    },
  },
  {
    name: 'a port in use and an address that is not ours are node:dgram’s errors',
    run: (net, test) =>
      bound(net, [local], async socket => {
        const { port } = socket!.localAddress
        for (const [at, host] of [[port, '127.0.0.1'] as const, [0, '192.0.2.1'] as const]) {
          if (at === 0 && isWine) return test.skip('wine binds to any address')
          const error = await rejection(net.bind({ port: at, host }, 'user-visible'))
          const theirs = createSocket('udp4')
          theirs.bind(at, host)
          const [expected] = await once(theirs, 'error')
          theirs.close()
          assertSameError(error, expected)
        }
      }),
  },
  {
    name: 'bad arguments are errors before anything happens',
    run: net =>
      bound(net, [local], async socket => {
        const type = [TypeError, 'ERR_INVALID_ARG_TYPE'] as const
        const value = [TypeError, 'ERR_INVALID_ARG_VALUE'] as const
        const range = [RangeError, 'ERR_OUT_OF_RANGE'] as const
        const port = [RangeError, 'ERR_SOCKET_BAD_PORT'] as const
        const calls: [() => Promise<unknown>, typeof TypeError | typeof RangeError, string][] = [
          [() => net.bind(undefined as never, 'background'), ...type],
          [() => net.bind({ port: 65_536 }, 'background'), ...port],
          [() => net.bind({ port: '1' as never }, 'background'), ...type],
          [() => net.bind({ host: '' }, 'background'), ...value],
          [() => net.bind({ host: 1 as never }, 'background'), ...type],
          [() => net.bind({ broadcast: 1 as never }, 'background'), ...type],
          [() => net.bind({ ttl: 0 }, 'background'), ...range],
          [() => net.bind({ multicastTtl: 256 }, 'background'), ...range],
          [() => net.bind({ multicastInterface: 1 as never }, 'background'), ...type],
          [() => net.bind({}, 'urgent' as never), ...value],
          [() => net.bind({}, undefined as never), ...type],
          [() => socket!.send('x', { port: 0 }), ...port],
          [() => socket!.send('x', { port: 1.5 }), ...port],
          [() => socket!.send('x', undefined as never), ...type],
          [() => socket!.send('x', { port: 9, host: '' }), ...value],
          [() => socket!.send(7 as never, { port: 9 }), ...type],
          [() => socket!.send('x', { port: 9 }, 'urgent' as never), ...value],
          [() => socket!.receive('urgent' as never), ...value],
          [() => socket!.addMembership(1 as never), ...type],
          [() => socket!.dropMembership(group, 1 as never), ...type],
        ]
        for (const [call, Kind, code] of calls) await assertRejectsWith(call, Kind, code, String(call))
        assert.throws(() => (socket!.caller = 'urgent' as never), { code: 'ERR_INVALID_ARG_VALUE' })
      }),
  },
]
