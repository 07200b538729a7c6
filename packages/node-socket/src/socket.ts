import { createConnection, createServer, type Server, type Socket } from 'node:net'
import {
  type ConnectTarget,
  checkConnectTarget,
  checkListenTarget,
  type ListenTarget,
} from '@kiruna/net-socket/address'
import type { Connection } from '@kiruna/net-socket/connection'
import { checkListenOptions, type Listener, type ListenOptions } from '@kiruna/net-socket/listener'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { LibuvConnection, pieceBytes } from './connection.ts'
import { LibuvListener } from './listener.ts'
import { Opening, opener } from './opening.ts'

export { bind } from './bind.ts'

/**
 * Connects to a port of a host, each of its addresses in turn, or to the path of a Unix-domain socket.
 * @throws ECONNREFUSED, ETIMEDOUT, ENETUNREACH, ENOTFOUND, ENOENT, EMFILE … (`err.code`); TypeError, RangeError;
 *   the signal's reason
 * @see connect(2)
 */
export function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const asker = askerOf(caller)
    const checked = checkConnectTarget(target)
    const opening = new Opening<Connection>(opener, asker, resolve, reject)
    if (!opening.begin()) return
    const options = { allowHalfOpen: true, readableHighWaterMark: pieceBytes }
    const { path } = checked
    const socket =
      path === undefined
        ? createConnection({
            ...options,
            port: checked.port,
            host: checked.host ?? 'localhost',
            noDelay: true,
          })
        : createConnection({ ...options, path })
    opening.stop = () => socket.destroy()
    socket.once('error', error => opening.fail(error))
    socket.once('connect', () => {
      if (opening.isDecided) return
      socket.removeAllListeners('error')
      opening.succeed(connectionOver(socket, asker, path))
    })
  })
}

function connectionOver(socket: Socket, asker: Asker, path: string | undefined): Connection {
  if (path === undefined) return new LibuvConnection(socket, asker)
  return new LibuvConnection(socket, asker, { family: 'Unix', path: '' }, { family: 'Unix', path })
}

/**
 * Listens on a port, or on the path of a Unix-domain socket, which is removed by `close`.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES … (`err.code`); TypeError, RangeError; the signal's reason
 * @see listen(2)
 */
export function listen(target: ListenTarget, caller: Caller, options: ListenOptions = {}): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const asker = askerOf(caller)
    const checked = checkListenTarget(target)
    checkListenOptions(options)
    const { path, backlog } = checked
    const opening = new Opening<Listener>(opener, asker, resolve, reject)
    if (!opening.begin()) return
    const server: Server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      highWaterMark: pieceBytes,
      noDelay: true,
    })
    opening.stop = () => server.close()
    server.once('error', error => opening.fail(error))
    const listening = () => {
      if (opening.isDecided) return
      server.removeAllListeners('error')
      opening.succeed(new LibuvListener(server, path, backlog, asker, options))
    }
    // `exclusive`: a cluster's worker listens for itself.
    const at = path === undefined ? { port: checked.port, host: checked.host } : { path }
    server.listen({ ...at, backlog, exclusive: true }, listening)
  })
}
