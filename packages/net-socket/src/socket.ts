import type { Caller } from '@kiruna/priority'
import type { SocketAddress } from './address.ts'
import type { BindOptions, ConnectTarget, Destination, ListenOptions, ListenTarget } from './arguments.ts'
import type { Connection } from './connection.ts'
import type { ConnectionDuplex, DuplexOptions } from './duplex.ts'
import type { Listener } from './listener.ts'
import type { SocketError } from './socket-error.ts'
import type { Datagram, UdpSocket } from './udp-socket.ts'

export type {
  BindOptions,
  Connection,
  ConnectionDuplex,
  ConnectTarget,
  Datagram,
  Destination,
  DuplexOptions,
  Listener,
  ListenOptions,
  ListenTarget,
  SocketAddress,
  SocketError,
  UdpSocket,
}

/** The socket personality. Every socket package has these functions and makes the same promises. */
export interface Net {
  /**
   * Connects a stream socket. A host's addresses are tried one after the other.
   * @throws ECONNREFUSED, ENETUNREACH, ETIMEDOUT, ENOENT, ENOTFOUND … (`err.code`); the signal's reason; TypeError,
   *   RangeError
   * @see connect(2)
   */
  connect(target: ConnectTarget, caller: Caller): Promise<Connection>

  /**
   * Listens for connections.
   * @param target port 0: any free one, see `address`; no host: all addresses of this machine
   * @param caller connections start at its priority. Its signal stops accepting, but no connection
   * @throws EADDRINUSE, EACCES, EADDRNOTAVAIL … (`err.code`); otherwise as `connect`
   * @see bind(2), listen(2), accept(2)
   */
  listen(target: ListenTarget, caller: Caller, options?: ListenOptions): Promise<Listener>

  /**
   * Opens a UDP socket at a port of this machine.
   * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOTFOUND … (`err.code`); otherwise as `connect`
   * @see bind(2)
   */
  bind(target: BindOptions, caller: Caller): Promise<UdpSocket>
}
