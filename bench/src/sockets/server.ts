// A server of one rival, in a process of its own: server.ts <one of `rivals`> <priority of what comes back>
// Prints two ports: at the first everything comes back; at the second everything is taken and forgotten, as a download in
// the background is. A rival without priorities has the same two. At SIGUSR2 it prints how much has been taken.
import { createServer, type Socket } from 'node:net'

type Priority = 'realtime' | 'user-visible' | 'background'
type Ports = [echo: number, download: number]

const rivals: Record<string, () => Promise<Ports>> = {
  kiruna: () =>
    kiruna(async connection => {
      const memory = Buffer.allocUnsafeSlow(64 * 1024)
      try {
        for (let count = 1; count > 0; taken += count) count = await connection.readInto(memory)
      } catch {} // the client has gone
      await connection.close()
    }),
  /** Kiruna, and each piece of a download in memory of its own. */
  loop: () =>
    kiruna(async connection => {
      try {
        for await (const bytes of connection) taken += bytes.length
      } catch {}
      await connection.close()
    }),
  /** No sockets: what the loops that wait for them take by themselves. At SIGUSR2 there are 10,000 more. */
  async loops() {
    const waiting: object[] = []
    const next = () => new Promise<IteratorResult<undefined>>(resolve => waiting.push(resolve))
    const iterable = { [Symbol.asyncIterator]: () => ({ next }) }
    const loop = async () => {
      for await (const _ of iterable);
    }
    const start = (count: number) => {
      for (let i = 0; i < count; i++) void loop()
    }
    start(1000)
    process.on('SIGUSR2', () => start(10_000))
    setInterval(() => {}, 1_000_000) // a loop that waits does not keep the process alive
    return [0, 0]
  },
  async node() {
    const serve = async (onData: (socket: Socket, bytes: Buffer) => void) => {
      const server = createServer({ noDelay: true }, socket => {
        socket.on('data', bytes => onData(socket, bytes))
        socket.on('error', () => socket.destroy())
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      return (server.address() as { port: number }).port
    }
    const echo = await serve((socket, bytes) => void socket.write(bytes))
    return [echo, await serve((_, bytes) => void (taken += bytes.length))]
  },
  async bun() {
    const { Bun } = globalThis as unknown as { Bun: { listen(options: object): { port: number } } }
    type BunSocket = { write(bytes: Uint8Array): number }
    const serve = (data: (socket: BunSocket, bytes: Uint8Array) => void) =>
      Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data, error() {} } }).port
    const echo = serve((socket, bytes) => void socket.write(bytes))
    return [echo, serve((_, bytes) => void (taken += bytes.length))]
  },
}

type Connection = Awaited<ReturnType<typeof import('@kiruna/core/net').connect>>

async function kiruna(takeAll: (connection: Connection) => Promise<void>): Promise<Ports> {
  const { listen } = await import('@kiruna/core/net')
  async function serve(priority: Priority, use: (connection: Connection) => Promise<void>) {
    const listener = await listen({ port: 0, host: '127.0.0.1' }, priority)
    void (async () => {
      for await (const connection of listener) void use(connection)
    })()
    return listener.address.family === 'Unix' ? 0 : listener.address.port
  }
  const echo = await serve(echoPriority, async connection => {
    try {
      for await (const bytes of connection) await connection.write(bytes)
    } catch {}
    await connection.close()
  })
  return [echo, await serve('background', takeAll)]
}

let taken = 0
const [name = '', echoPriority] = process.argv.slice(2) as [string, Priority]
const rival = rivals[name]
if (rival === undefined) throw new Error(`one of ${Object.keys(rivals).join(', ')}`)
console.log((await rival()).join(' '))
process.on('SIGUSR2', () => console.log(taken))
