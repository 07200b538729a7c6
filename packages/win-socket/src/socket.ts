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
import * as libuv from '@kiruna/node-socket'
import { askerOf, type Caller } from '@kiruna/priority'
import { port } from '@kiruna/win-iocp/iocp'
import { bindAt } from './bind.ts'
import { IocpConnecting } from './connect.ts'
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
 * Connects a stream socket. A host's addresses are tried one after the other. A path is a Unix-domain socket's, or a
 * named pipe's (`\\.\pipe\name`), which is node:net's.
 * @throws ECONNREFUSED, ENETUNREACH, ETIMEDOUT, ENOENT, ENOTFOUND … (`err.code`); EAFNOSUPPORT: no Unix-domain sockets
 *   before Windows 10 1803; the signal's reason; TypeError, RangeError; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_connectex
 */
export async function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  const checked = checkConnectTarget(target)
  const asker = askerOf(caller)
  if (isPipe(checked.path)) return libuv.connect(target, caller)
  check()
  return new Promise((resolve, reject) => new IocpConnecting(checked, asker, resolve, reject).begin())
}

/**
 * Listens for connections.
 * @param target port 0: one that is free, see `address`; no host: all addresses of this machine; a path as in `connect`
 * @param caller at whose priority connections start. Its signal stops accepting, and no connection
 * @throws EADDRINUSE, EACCES, EADDRNOTAVAIL … (`err.code`); otherwise as `connect`
 * @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-listen
 */
export async function listen(
  target: ListenTarget,
  caller: Caller,
  options: ListenOptions = {},
): Promise<Listener> {
  const checked = checkListenTarget(target)
  const asker = askerOf(caller)
  checkListenOptions(options)
  if (isPipe(checked.path)) return libuv.listen(target, caller, options)
  check()
  asker.signal?.throwIfAborted()
  return listenOn(checked, asker, options)
}

/**
 * A UDP socket at a port of this machine.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOTFOUND … (`err.code`); otherwise as `connect`
 * @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-bind
 */
export async function bind(target: BindOptions, caller: Caller): Promise<UdpSocket> {
  const options = checkBindOptions(target)
  const asker = askerOf(caller)
  check()
  return new UdpSocket(await bindAt(options, asker))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason: not Windows, no addon */
export function check(): void {
  port()
}

function isPipe(path: string | undefined): boolean {
  return path !== undefined && /^[\\/]{2}[.?][\\/]pipe[\\/]/i.test(path)
}
