// An echo server of one rival, in a process of its own: server.ts <kiruna | node | bun>. Prints its port.
import type { Socket } from 'node:net'

const rivals: Record<string, () => Promise<number>> = {
  async kiruna() {
    const { listen } = await import('@kiruna/core/net')
    const listener = await listen({ port: 0, host: '127.0.0.1' }, 'user-visible')
    void (async () => {
      for await (const connection of listener) void echo(connection)
    })()
    const { address } = listener
    return address.family === 'Unix' ? 0 : address.port
  },
  async node() {
    const { createServer } = await import('node:net')
    const echo = (socket: Socket) => {
      socket.on('data', bytes => void socket.write(bytes))
      socket.on('error', () => socket.destroy())
    }
    const server = createServer({ noDelay: true }, echo)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as { port: number }).port
  },
  async bun() {
    const { Bun } = globalThis as unknown as { Bun: { listen(options: object): { port: number } } }
    const data = (socket: { write(bytes: Uint8Array): number }, bytes: Uint8Array) => void socket.write(bytes)
    return Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data, error() {} } }).port
  },
}

interface Connection extends AsyncIterable<Buffer> {
  write(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

async function echo(connection: Connection): Promise<void> {
  try {
    for await (const bytes of connection) await connection.write(bytes)
  } catch {} // the client has gone
  await connection.close()
}

const rival = rivals[process.argv[2] ?? '']
if (rival === undefined) throw new Error(`one of ${Object.keys(rivals).join(', ')}`)
console.log(await rival())
