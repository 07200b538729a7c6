import { createConnection, createServer } from 'node:net'
import { lookUpFor } from '@kiruna/net-socket/address'
import { openAtAddress } from '@kiruna/net-socket/any-address'
import {
  type BindOptions,
  type ConnectTarget,
  checkBind,
  checkConnect,
  checkListen,
  type ListenOptions,
  type ListenTarget,
} from '@kiruna/net-socket/arguments'
import type { Connection } from '@kiruna/net-socket/connection'
import type { Listener } from '@kiruna/net-socket/listener'
import type { UdpSocket } from '@kiruna/net-socket/udp-socket'
import { type Owner, Waiting } from '@kiruna/net-socket/waiting'
import { askerOf, type Caller } from '@kiruna/priority'
import { promised } from '@kiruna/priority/operation'
import { handOver } from './batch.ts'
import { LibuvConnection, pieceBytes } from './connection.ts'
import { LibuvListener } from './listener.ts'
import { bindSocket, LibuvUdpSocket } from './udp.ts'

export type * from '@kiruna/net-socket'

/**
 * Connects a net.Socket, which tries the addresses of a host in turn.
 * @see connect(2)
 */
export function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  return promised((resolve, reject) => {
    const checked = checkConnect(target, caller)
    const { asker, path } = checked
    const opening = new Opening<Connection>(opener, asker, resolve, reject)
    if (!opening.begin()) return opening
    const options = { allowHalfOpen: true, readableHighWaterMark: pieceBytes }
    const socket =
      path === undefined
        ? createConnection({
            ...options,
            port: checked.port,
            host: checked.host ?? 'localhost',
            lookup: lookUpFor(asker),
            noDelay: true,
          })
        : createConnection({ ...options, path })
    opening.stop = () => socket.destroy()
    socket.once('error', error => opening.fail(error))
    socket.once('connect', () => {
      if (opening.hasOutcome) return
      socket.removeAllListeners('error')
      const [local, remote] =
        path === undefined ? [] : ['', path].map(path => ({ family: 'Unix', path }) as const)
      opening.succeed(new LibuvConnection(socket, asker, local, remote))
    })
    return opening
  })
}

/**
 * Listens with a net.Server.
 * @see listen(2)
 */
export function listen(target: ListenTarget, caller: Caller, options?: ListenOptions): Promise<Listener> {
  return promised((resolve, reject) => {
    const checked = checkListen(target, caller, options)
    const opening = new Opening<Listener>(opener, checked.asker, resolve, reject)
    if (!opening.begin()) return opening
    const server = createServer({
      allowHalfOpen: true,
      pauseOnConnect: true,
      highWaterMark: pieceBytes,
      noDelay: true,
    })
    opening.stop = () => server.close()
    server.once('error', error => opening.fail(error))
    // `exclusive`: a cluster's worker listens by itself.
    const { asker, onError, ...at } = checked
    server.listen({ ...at, exclusive: true }, () => {
      if (opening.hasOutcome) return
      server.removeAllListeners('error')
      opening.succeed(new LibuvListener(server, checked))
    })
    return opening
  })
}

/**
 * Binds a dgram.Socket.
 * @see bind(2)
 */
export function bind(target: BindOptions, caller: Caller): Promise<UdpSocket> {
  return promised((resolve, reject) => {
    const checked = checkBind(target, caller)
    const opening = new Opening<UdpSocket>(opener, checked.asker, resolve, reject)
    if (!opening.begin()) return opening
    openAtAddress(checked, at => bindSocket(at, checked)).then(
      socket => {
        if (opening.hasOutcome) socket.close()
        else opening.succeed(new LibuvUdpSocket(socket, checked))
      },
      error => opening.fail(error),
    )
    return opening
  })
}

/** A call of connect, listen or bind. */
class Opening<T> extends Waiting<T> {
  /** Releases what has been opened. */
  stop: () => void = nothing
}

/** Owns all of them: each has its own caller, and an abort rejects at once. */
const opener: Owner = {
  asker: askerOf('user-blocking'),
  handOver,
  delivered: nothing,
  abort(one, reason) {
    ;(one as Opening<never>).stop()
    one.fail(reason)
  },
  rankChanged: nothing,
}

function nothing(): void {}
