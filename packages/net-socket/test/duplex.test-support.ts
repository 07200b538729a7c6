import { once } from 'node:events'
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import type { Connection, Net } from './implementations.test-support.ts'

/** A connection, and its peer: a net.Socket that is half open when one side ends. */
export async function withPeer(net: Net): Promise<{ connection: Connection; peer: Socket }> {
  const server = createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const connecting = net.connect(
    { port: (server.address() as AddressInfo).port, host: '127.0.0.1' },
    'user-visible',
  )
  const [peer] = (await once(server, 'connection')) as [Socket]
  server.close()
  const connection = await connecting
  peer.on('error', () => {})
  onTestFinished(async () => {
    peer.destroy()
    await connection.close()
  })
  return { connection, peer }
}

/** What node:net gives for the same: a net.Socket, and its peer. */
export async function netPair(
  options: { allowHalfOpen?: boolean } = {},
): Promise<{ socket: Socket; peer: Socket }> {
  const server = createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socket = createConnection({ port, host: '127.0.0.1', ...options })
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(socket, 'connect')])) as [
    [Socket],
    unknown,
  ]
  server.close()
  peer.on('error', () => {})
  onTestFinished(() => {
    peer.destroy()
    socket.destroy()
  })
  return { socket, peer }
}
