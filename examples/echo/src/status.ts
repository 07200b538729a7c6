import { createServer } from 'node:http'
import type { Connection, Listener } from '@kiruna/core/net'
import type { Counts } from './counts.ts'

/** Node's own http server on Kiruna's connections: each becomes a Duplex. It tells what `counts` has counted. */
export async function serveStatus(listener: Listener, counts: Counts): Promise<void> {
  const server = createServer((request, response) => {
    if (request.url === '/') {
      response.setHeader('content-type', 'application/json')
      response.end(`${JSON.stringify(counts)}\n`)
    } else if (request.url === '/echo') {
      request.pipe(response)
    } else {
      response.statusCode = 404
      response.end('There is / and there is /echo.\n')
    }
  })
  server.emit('listening') // from now on it ends requests that do not come to an end themselves
  const open = new Set<Connection>()
  try {
    for await (const connection of listener) {
      open.add(connection)
      const duplex = connection.toDuplex({ allowHalfOpen: true }).on('close', () => open.delete(connection))
      server.emit('connection', duplex)
    }
  } finally {
    server.close()
    await Promise.all([...open].map(connection => connection.close()))
  }
}
