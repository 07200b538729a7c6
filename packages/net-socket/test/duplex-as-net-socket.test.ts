import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { netPair, withPeer } from './duplex.test-support.ts'
import { forEachImplementation } from './implementations.test-support.ts'

interface Either extends Duplex {
  setTimeout(timeoutMs: number, listener?: () => void): unknown
  destroySoon(): void
  readonly readyState: string
  timeout?: number | undefined
}

interface Scenario {
  name: string
  allowHalfOpen?: boolean
  /** What is done to it, and by its peer. */
  run(stream: Either, peer: Socket): Promise<void> | void
}

/** Each is run on a net.Socket too: the events must be the same, in the same order. */
const scenarios: Scenario[] = [
  {
    name: 'the peer ends',
    run(stream, peer) {
      stream.resume()
      peer.end('all of it')
    },
  },
  {
    name: 'the peer ends, and nobody reads',
    run(_stream, peer) {
      peer.end()
    },
  },
  {
    name: 'the peer ends, and this side may stay open',
    allowHalfOpen: true,
    async run(stream, peer) {
      stream.resume()
      peer.resume().end('all of it')
      await once(stream, 'end')
      await sleep(20)
      stream.emit('now', stream.readyState)
      stream.end('an answer')
    },
  },
  {
    name: 'this side ends, then the peer',
    async run(stream, peer) {
      stream.resume()
      stream.end('all of it')
      await once(peer.resume(), 'end')
      await sleep(20)
      peer.end()
    },
  },
  {
    name: 'it is destroyed',
    run(stream) {
      stream.destroy()
    },
  },
  {
    name: 'it is destroyed with an error',
    run(stream) {
      stream.destroy(Object.assign(new Error('mine'), { code: 'EMINE' }))
    },
  },
  {
    name: 'it is destroyed when all is sent',
    run(stream, peer) {
      peer.resume()
      stream.write('all of it')
      stream.destroySoon()
    },
  },
  {
    name: 'the peer resets it',
    async run(stream, peer) {
      stream.resume()
      await sleep(20)
      peer.resetAndDestroy()
    },
  },
  {
    name: 'it is written after its end',
    run(stream) {
      stream.end()
      stream.write('too late')
    },
  },
  {
    name: 'nothing happens for so long',
    async run(stream) {
      stream.setTimeout(30)
      await once(stream, 'timeout')
      stream.emit('now', stream.timeout)
      await sleep(80)
      stream.destroy()
    },
  },
  {
    name: 'something comes before it times out, and again it is idle',
    async run(stream, peer) {
      stream.resume()
      stream.setTimeout(150, () => stream.emit('now', 'listener'))
      for (let i = 0; i < 10; i++) {
        await sleep(30)
        peer.write('x')
      }
      stream.emit('now', 'awake')
      await once(stream, 'timeout')
      stream.destroy()
    },
  },
  {
    name: 'its timeout is taken back',
    async run(stream) {
      const listener = () => stream.emit('now', 'listener')
      stream.setTimeout(20, listener)
      stream.setTimeout(0, listener)
      await sleep(60)
      stream.emit('now', stream.listenerCount('timeout'))
      stream.destroy()
    },
  },
  {
    name: 'a write waits for a peer that does not read',
    async run(stream) {
      stream.write(Buffer.alloc(50_000_000))
      await sleep(30)
      stream.setTimeout(30)
      await once(stream, 'timeout')
      stream.destroy()
    },
  },
]

const watched = ['end', 'finish', 'error', 'close', 'timeout', 'now', 'prefinish']

async function eventsOf({ run }: Scenario, stream: Either, peer: Socket): Promise<unknown[]> {
  const events: unknown[] = []
  for (const name of watched) {
    stream.on(name, (...given: unknown[]) => {
      events.push([
        name,
        ...given.map(one => (one instanceof Error ? (one as NodeJS.ErrnoException).code : one)),
      ])
    })
  }
  const closed = new Promise(resolve => stream.on('close', resolve))
  await run(stream, peer)
  await closed
  await sleep(5)
  return events
}

forEachImplementation(net => {
  for (const scenario of scenarios) {
    test(`as a net.Socket: ${scenario.name}`, async () => {
      const { allowHalfOpen = false } = scenario
      const { connection, peer } = await withPeer(net)
      const theirs = await netPair({ allowHalfOpen })
      const events = await eventsOf(scenario, connection.toDuplex({ allowHalfOpen }), peer)
      expect(events).toEqual(await eventsOf(scenario, theirs.socket, theirs.peer))
    })
  }
})
