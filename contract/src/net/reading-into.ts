import assert from 'node:assert/strict'
import { KiB, MiB, pattern } from '../files.ts'
import { assertRejectsWith, rejection, turns } from '../outcomes.ts'
import { abortable } from './aborting.ts'
import type { Connection, NetContract } from './contract.ts'
import { pair, readAll, readBytes, withNode } from './pairs.ts'

const transfer = (bytes: Uint8Array<ArrayBuffer>) =>
  void structuredClone(bytes.buffer, { transfer: [bytes.buffer] })

/** What has come into a copy of its own. */
async function into(connection: Connection, lengthBytes: number): Promise<string> {
  const buffer = Buffer.alloc(lengthBytes)
  return String(buffer.subarray(0, await connection.readInto(buffer)))
}

export const readingInto: NetContract[] = [
  {
    name: 'readInto: at least one byte and at most 64 KiB, from the beginning of the memory and not beyond; 0 is the end',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const writing = client.write(pattern(MiB)).then(() => client.end())
      const memory = Buffer.alloc(100_000, 0xee)
      const view = new DataView(memory.buffer, memory.byteOffset + 5, 90_000)
      const all: Buffer[] = []
      for (let count = 1; count > 0; ) {
        count = await server.readInto(view)
        assert.ok(count <= 64 * KiB)
        all.push(Buffer.from(memory.subarray(5, 5 + count)))
      }
      assert.ok(Buffer.concat(all).equals(pattern(MiB)))
      assert.deepEqual([...memory.subarray(0, 5)], Array(5).fill(0xee))
      assert.ok(memory.subarray(5 + 64 * KiB).every(byte => byte === 0xee))
      assert.equal(await server.readInto(view), 0)
      await writing
      await close()
    },
  },
  {
    name: 'readInto: what does not fit is for the next, whichever kind that is, and memory may be shared',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const shared = new Uint8Array(new SharedArrayBuffer(8))
      const waiting = [into(server, 3), into(server, 1), server.readInto(shared)] as const
      await client.write('abcdefghijklmnop')
      let text = (await waiting[0]) + (await waiting[1])
      text += Buffer.from(shared).toString('latin1', 0, await waiting[2])
      while (text.length < 14) text += await into(server, 14 - text.length)
      assert.equal(text, 'abcdefghijklmn')
      assert.equal(String(await readBytes(server, 2)), 'op')
      await close()
    },
  },
  {
    name: 'readInto and read: of several that wait, the most urgent is first',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const memory = Buffer.alloc(9)
      const reads = [server.read('background'), server.readInto(memory, 'realtime'), server.read()] as const
      await client.write('one')
      assert.equal(await reads[1], 3)
      assert.equal(String(memory.subarray(0, 3)), 'one')
      await client.write('two')
      assert.equal(String(await reads[2]), 'two')
      await client.write('three')
      assert.equal(String(await reads[0]), 'three')
      await close()
    },
  },
  {
    name: 'readInto: a caller that reads on while it is being told gets what comes next',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      await client.write('abcdef')
      assert.equal(await into(server, 1), 'a')
      const memory = Buffer.alloc(2)
      let next: Promise<string> | undefined
      const caller = {
        priority: 'user-visible' as const,
        deliver(job: () => void) {
          next ??= into(server, 3)
          job()
        },
      }
      assert.equal(await server.readInto(memory, caller), 2)
      assert.equal(String(memory) + (await next), 'bcdef')
      await close()
    },
  },
  {
    name: 'readInto: whenever it is aborted, no byte is lost, none comes twice, and its memory is left alone from then on',
    async run(net) {
      const { connection, socket, close } = await withNode(net)
      const expected = pattern(3 * MiB)
      socket.end(expected)
      const all: Buffer[] = []
      const abandoned: Buffer[] = []
      for (let round = 0, ended = false; !ended; round++) {
        const { controller, caller } = abortable()
        const memory = Buffer.alloc([64 * KiB, 1, 5000][round % 3]!)
        const read = connection.readInto(memory, caller).then(
          count => {
            ended = count === 0
            all.push(memory.subarray(0, count))
          },
          reason => {
            assert.equal(reason, 'enough')
            abandoned.push(memory.fill(0xee))
          },
        )
        if (round % 2 > 0) await turns(round % 5)
        controller.abort('enough')
        await read
      }
      assert.ok(Buffer.concat(all).equals(expected))
      assert.ok(abandoned.every(memory => memory.every(byte => byte === 0xee)))
      await close()
    },
  },
  {
    name: 'readInto: many that are aborted by what a more urgent read brings have taken nothing, and their memory is yours',
    async run(net) {
      const ends = await Promise.all(Array.from({ length: 8 }, () => withNode(net, 'background')))
      const expected = pattern(500_000)
      const firsts = await Promise.all(
        ends.map(async ({ connection, socket }) => {
          socket.end(expected)
          return connection.read()
        }),
      )
      await turns(20) // what the kernel has room for has come by now
      const [urgent, ...others] = ends
      const { controller, caller } = abortable()
      const abandoned: Buffer[] = []
      const reads = others.map(({ connection }) => {
        const memory = Buffer.alloc(64 * KiB)
        return connection.readInto(memory, { ...caller, priority: 'background' }).then(
          count => memory.subarray(0, count),
          () => {
            abandoned.push(memory.fill(0xee))
            return Buffer.alloc(0)
          },
        )
      })
      const urgently = await urgent!.connection.read('realtime')
      controller.abort('enough')
      const seconds = [urgently!, ...(await Promise.all(reads))]
      const rests = await Promise.all(ends.map(({ connection }) => readAll(connection)))
      for (const [i, rest] of rests.entries())
        assert.ok(Buffer.concat([firsts[i]!, seconds[i]!, rest]).equals(expected), `connection ${i}`)
      assert.ok(abandoned.every(memory => memory.every(byte => byte === 0xee)))
      await Promise.all(ends.map(({ close }) => close()))
    },
  },
  {
    name: 'readInto: memory that is transferred when its turn has come is an error, and all else goes on',
    async run(net) {
      const ends = await Promise.all(Array.from({ length: 8 }, () => withNode(net, 'background')))
      await Promise.all(
        ends.map(async ({ connection, socket }) => {
          socket.end(pattern(500_000))
          return connection.read()
        }),
      )
      await turns(20) // what the kernel has room for has come by now
      const [urgent, ...others] = ends
      const memories = others.map(() => new Uint8Array(64 * KiB))
      const reads = others.map(({ connection }, i) => connection.readInto(memories[i]!, 'background'))
      await urgent!.connection.read('realtime')
      for (const memory of memories) if (memory.length > 0) transfer(memory)
      for (const { status, reason } of (await Promise.allSettled(reads)) as PromiseRejectedResult[])
        assert.ok(status === ('fulfilled' as string) || reason.code === 'ERR_INVALID_STATE', reason)
      // Much more than may be under way at once.
      for (const { connection } of ends) await readAll(connection)
      await Promise.all(ends.map(({ close }) => close()))
    },
  },
  {
    name: 'readInto: after close it is ERR_SOCKET_CLOSED, also for one that waits, and for what has come and is left',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const waiting = rejection(server.readInto(Buffer.alloc(10)))
      await turns(2)
      await server.close()
      assert.equal((await waiting).code, 'ERR_SOCKET_CLOSED')
      assert.equal((await rejection(server.readInto(Buffer.alloc(10)))).code, 'ERR_SOCKET_CLOSED')
      await close()

      const another = await pair(net, test)
      await another.client.write('abcdef')
      assert.equal(await into(another.server, 1), 'a')
      await another.server.close()
      assert.equal((await rejection(another.server.readInto(Buffer.alloc(2)))).code, 'ERR_SOCKET_CLOSED')
      assert.equal((await rejection(another.server.read())).code, 'ERR_SOCKET_CLOSED')
      await Promise.all([client.close(), another.close()])
    },
  },
  {
    name: 'readInto: its memory is a view that is not empty and stays where it is; transferred meanwhile, it gets nothing',
    async run(net, test) {
      const { client, server, close } = await pair(net, test)
      const read = (memory: unknown) => () => server.readInto(memory as Buffer)
      for (const memory of [undefined, null, 'x', 1, {}, new ArrayBuffer(1)])
        await assertRejectsWith(read(memory), TypeError, 'ERR_INVALID_ARG_TYPE', `${memory}`)
      await assertRejectsWith(read(Buffer.alloc(0)), TypeError, 'ERR_INVALID_ARG_VALUE', 'empty')
      const resizable = new Uint8Array(new ArrayBuffer(1, { maxByteLength: 2 }))
      await assertRejectsWith(read(resizable), TypeError, 'ERR_INVALID_ARG_VALUE', 'resizable')
      const detached = new Uint8Array(1)
      transfer(detached)
      await assertRejectsWith(read(detached), TypeError, 'ERR_INVALID_STATE', 'detached')
      const memory = new Uint8Array(64)
      const waiting = rejection(server.readInto(memory))
      transfer(memory)
      await client.write('for the next')
      assert.equal((await waiting).code, 'ERR_INVALID_STATE')
      assert.equal(String(await server.read()), 'for the next')
      await close()
    },
  },
]
