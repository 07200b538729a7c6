import assert from 'node:assert/strict'
import { assertRejectsWith } from '../outcomes.ts'
import type { NetContract } from './contract.ts'
import { pair } from './pairs.ts'

const bad: [what: string, target: unknown, Kind: typeof TypeError | typeof RangeError, code: string][] = [
  ['nothing', undefined, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['null', null, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['a number', 80, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['neither port nor path', {}, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['port and path', { port: 80, path: '/x' }, TypeError, 'ERR_INVALID_ARG_VALUE'],
  ['a port in a string', { port: '80' }, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['port −1', { port: -1 }, RangeError, 'ERR_SOCKET_BAD_PORT'],
  ['port 65536', { port: 65536 }, RangeError, 'ERR_SOCKET_BAD_PORT'],
  ['port 1.5', { port: 1.5 }, RangeError, 'ERR_SOCKET_BAD_PORT'],
  ['port NaN', { port: Number.NaN }, RangeError, 'ERR_SOCKET_BAD_PORT'],
  ['a host of another type', { port: 80, host: 1 }, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['an empty host', { port: 80, host: '' }, TypeError, 'ERR_INVALID_ARG_VALUE'],
  ['a host with a zero byte', { port: 80, host: 'a\0b' }, TypeError, 'ERR_INVALID_ARG_VALUE'],
  ['a path of another type', { path: 1 }, TypeError, 'ERR_INVALID_ARG_TYPE'],
  ['an empty path', { path: '' }, TypeError, 'ERR_INVALID_ARG_VALUE'],
  ['a path with a zero byte', { path: '/a\0b' }, TypeError, 'ERR_INVALID_ARG_VALUE'],
  ['a path that is too long', { path: `/${'x'.repeat(200)}` }, TypeError, 'ERR_INVALID_ARG_VALUE'],
]

export const badArguments: NetContract[] = [
  {
    name: 'connect and listen reject what names no place, before anything starts',
    async run(net) {
      for (const [what, target, Kind, code] of bad) {
        await assertRejectsWith(
          () => net.connect(target as never, 'background'),
          Kind,
          code,
          `connect: ${what}`,
        )
        await assertRejectsWith(
          () => net.listen(target as never, 'background'),
          Kind,
          code,
          `listen: ${what}`,
        )
      }
      const connectToNobody = () => net.connect({ port: 0 }, 'background')
      await assertRejectsWith(connectToNobody, RangeError, 'ERR_SOCKET_BAD_PORT', 'connect: port 0')
    },
  },
  {
    name: 'a backlog is a whole number from 1 on, and onError a function',
    async run(net) {
      const listen = (backlog: unknown) => () => net.listen({ port: 0, backlog } as never, 'background')
      await assertRejectsWith(listen('1'), TypeError, 'ERR_INVALID_ARG_TYPE', 'a string')
      for (const backlog of [0, -1, 1.5, 2 ** 31, Number.NaN])
        await assertRejectsWith(listen(backlog), RangeError, 'ERR_OUT_OF_RANGE', `${backlog}`)
      const withOnError = () => net.listen({ port: 0 }, 'background', { onError: 1 as never })
      await assertRejectsWith(withOnError, TypeError, 'ERR_INVALID_ARG_TYPE', 'onError')
    },
  },
  {
    name: 'no caller and an unknown priority are errors, never a default',
    async run(net, test) {
      const { client, close } = await pair(net, test)
      const calls: [string, (caller: never) => Promise<unknown>][] = [
        ['connect', caller => net.connect({ port: 1 }, caller)],
        ['listen', caller => net.listen({ port: 0 }, caller)],
        ['read', caller => client.read(caller)],
        ['readInto', caller => client.readInto(Buffer.alloc(1), caller)],
        ['write', caller => client.write('x', caller)],
      ]
      for (const [what, call] of calls) {
        await assertRejectsWith(() => call('urgent' as never), TypeError, 'ERR_INVALID_ARG_VALUE', what)
        await assertRejectsWith(() => call(7 as never), TypeError, 'ERR_INVALID_ARG_TYPE', what)
        const signal = { priority: 'background', signal: {} }
        await assertRejectsWith(() => call(signal as never), TypeError, 'ERR_INVALID_ARG_TYPE', what)
        if (what === 'connect' || what === 'listen')
          await assertRejectsWith(() => call(undefined as never), TypeError, 'ERR_INVALID_ARG_TYPE', what)
      }
      assert.throws(() => (client.caller = 'urgent' as never), { code: 'ERR_INVALID_ARG_VALUE' })
      assert.throws(() => (client.caller = undefined as never), { code: 'ERR_INVALID_ARG_TYPE' })
      await close()
    },
  },
  {
    name: 'what is written is a string or bytes that stay where they are',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const write = (bytes: unknown) => () => client.write(bytes as string)
      for (const bytes of [undefined, null, 1, {}, [1], new ArrayBuffer(1), new DataView(new ArrayBuffer(1))])
        await assertRejectsWith(write(bytes), TypeError, 'ERR_INVALID_ARG_TYPE', `${bytes}`)
      const resizable = new Uint8Array(new ArrayBuffer(1, { maxByteLength: 2 }))
      await assertRejectsWith(write(resizable), TypeError, 'ERR_INVALID_ARG_VALUE', 'resizable')
      const detached = new Uint8Array(1)
      structuredClone(detached.buffer, { transfer: [detached.buffer] })
      await assertRejectsWith(write(detached), TypeError, 'ERR_INVALID_STATE', 'detached')
      await client.write('fine')
      assert.equal(String(await server.read()), 'fine')
      await close()
    },
  },
]
