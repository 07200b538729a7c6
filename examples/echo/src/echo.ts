import type { Scope } from '@kiruna/core'
import type { Connection, Listener, UdpSocket } from '@kiruna/core/net'
import type { Counts } from './counts.ts'

/** Whoever sends so much without a pause is a program, which can wait; a line is somebody's who does. */
const streamBytes = 64 * 1024
const pauseMs = 200

/** Each connection is a child task: it has its own priority, it fails alone, and it ends with its listener's task. */
export async function serve(listener: Listener, scope: Scope, counts: Counts): Promise<void> {
  for await (const connection of listener) {
    const serving = scope.spawn(own => echo(connection, own, counts), { name: 'echo', contain: true })
    serving.catch(ignored) // the peer has gone
  }
}

/** Gives back what comes, until the peer ends. Nothing is read while the peer does not take what it has sent. */
export async function echo(connection: Connection, scope: Scope, counts: Counts): Promise<void> {
  connection.caller = scope // its reads and writes have the scope's priority, whatever that is by then
  counts.connections++
  counts.open.set(connection, scope.priority)
  let [lastMs, streamedBytes] = [0, 0]
  try {
    for await (const bytes of connection) {
      const nowMs = performance.now()
      if (nowMs - lastMs > pauseMs) streamedBytes = 0
      lastMs = nowMs
      streamedBytes += bytes.length
      scope.priority = streamedBytes < streamBytes ? 'user-blocking' : 'background'
      counts.open.set(connection, scope.priority)
      counts.bytes += bytes.length
      await connection.write(bytes)
    }
    await connection.end()
  } finally {
    counts.open.delete(connection)
    await connection.close()
  }
}

/** The same for datagrams: each goes back to where it has come from. */
export async function serveDatagrams(socket: UdpSocket, scope: Scope, counts: Counts): Promise<void> {
  socket.caller = scope
  for await (const datagram of socket) {
    counts.datagrams++
    counts.bytes += datagram.bytes.length
    await socket.send(datagram.bytes, datagram).catch(ignored) // nobody promised that it arrives
  }
}

function ignored(): void {}
