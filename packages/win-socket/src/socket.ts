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
import * as libuv from '@kiruna/node-socket'
import type { Caller } from '@kiruna/priority'
import { promised } from '@kiruna/priority/operation'
import { checkNetAllowed } from '@kiruna/priority/permission'
import { port } from '@kiruna/win-iocp/iocp'
import { IocpConnecting } from './connect.ts'
import { listenAt } from './listener.ts'
import { bindAt } from './udp.ts'

export type * from '@kiruna/net-socket'

/**
 * Connects a stream socket. A path is a Unix-domain socket's, or a named pipe's (`\\.\pipe\name`), which node:net
 * connects.
 * @throws as `Net.connect`; EAFNOSUPPORT: no Unix-domain sockets before Windows 10 1803; ERR_KIRUNA_UNAVAILABLE with
 *   the reason
 * @see https://learn.microsoft.com/windows/win32/api/mswsock/nc-mswsock-lpfn_connectex
 */
export async function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  const checked = checkConnect(target, caller)
  if (isPipe(checked.path)) return libuv.connect(target, caller)
  checkNetAllowed()
  check()
  return await promised<Connection>((resolve, reject) => new IocpConnecting(checked, resolve, reject).begin())
}

/**
 * Listens for connections. A path is as in `connect`.
 * @throws as `Net.listen`; EAFNOSUPPORT and ERR_KIRUNA_UNAVAILABLE as `connect`
 * @see https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex
 */
export async function listen(
  target: ListenTarget,
  caller: Caller,
  options?: ListenOptions,
): Promise<Listener> {
  const checked = checkListen(target, caller, options)
  const { path } = checked
  if (isPipe(path)) return libuv.listen(target, caller, options)
  checkNetAllowed()
  check()
  if (path !== undefined) return listenAt({ family: 'Unix', path }, checked)
  return await openAtAddress(checked, at => listenAt(at, checked))
}

/**
 * Binds a UDP socket.
 * @throws as `Net.bind`; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-bind
 */
export async function bind(target: BindOptions, caller: Caller): Promise<UdpSocket> {
  const checked = checkBind(target, caller)
  checkNetAllowed()
  check()
  return await openAtAddress(checked, at => bindAt(at, checked))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason: not Windows, no addon */
export function check(): void {
  port()
}

function isPipe(path: string | undefined): boolean {
  return path !== undefined && /^[\\/]{2}[.?][\\/]pipe[\\/]/i.test(path)
}
