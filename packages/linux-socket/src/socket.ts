import { ring } from '@kiruna/linux-uring/ring'
import {
  type ConnectTarget,
  checkConnectTarget,
  checkListenTarget,
  type ListenTarget,
} from '@kiruna/net-socket/address'
import type { Connection } from '@kiruna/net-socket/connection'
import { checkListenOptions, type Listener, type ListenOptions } from '@kiruna/net-socket/listener'
import { type BindOptions, checkBindOptions, type Datagram, type Destination } from '@kiruna/net-socket/udp'
import { UdpSocket } from '@kiruna/net-socket/udp-socket'
import { askerOf, type Caller } from '@kiruna/priority'
import { bindAt } from './bind.ts'
import { UringConnecting } from './connect.ts'
import { listenOn } from './listener.ts'

export type {
  BindOptions,
  Connection,
  ConnectTarget,
  Datagram,
  Destination,
  Listener,
  ListenOptions,
  ListenTarget,
  UdpSocket,
}

/**
 * Connects a stream socket. A host's addresses are tried one after the other.
 * @throws ECONNREFUSED, ENETUNREACH, ETIMEDOUT, ENOENT, ENOTFOUND … (`err.code`); the signal's reason; TypeError,
 *   RangeError; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see socket(2), connect(2)
 */
export async function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  const checked = checkConnectTarget(target)
  const asker = askerOf(caller)
  check()
  return new Promise((resolve, reject) => new UringConnecting(checked, asker, resolve, reject).begin())
}

/**
 * Listens for connections.
 * @param target port 0: one that is free, see `address`; no host: all addresses of this machine
 * @param caller at whose priority connections start. Its signal stops accepting, and no connection
 * @throws EADDRINUSE, EACCES, EADDRNOTAVAIL … (`err.code`); otherwise as `connect`
 * @see bind(2), listen(2), accept(2)
 */
export async function listen(
  target: ListenTarget,
  caller: Caller,
  options: ListenOptions = {},
): Promise<Listener> {
  const checked = checkListenTarget(target)
  const asker = askerOf(caller)
  checkListenOptions(options)
  check()
  asker.signal?.throwIfAborted()
  return listenOn(checked, asker, options)
}

/**
 * A UDP socket at a port of this machine.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOTFOUND … (`err.code`); otherwise as `connect`
 * @see socket(2), bind(2)
 */
export async function bind(target: BindOptions, caller: Caller): Promise<UdpSocket> {
  const options = checkBindOptions(target)
  const asker = askerOf(caller)
  check()
  return new UdpSocket(await bindAt(options, asker))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  ring()
}
