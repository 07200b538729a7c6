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
import type { Caller } from '@kiruna/priority'
import { promised } from '@kiruna/priority/operation'
import { checkNetAllowed } from '@kiruna/priority/permission'
import { DispatchConnecting } from './connect.ts'
import { dispatcher } from './dispatcher.ts'
import { listenAt } from './listener.ts'
import { bindAt } from './udp.ts'

export type * from '@kiruna/net-socket'

/**
 * Connects a stream socket: a dispatch source says when it is connected.
 * @throws as `Net.connect`; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see socket(2), connect(2)
 */
export async function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  const checked = checkConnect(target, caller)
  checkNetAllowed()
  check()
  return await promised<Connection>((resolve, reject) =>
    new DispatchConnecting(checked, resolve, reject).begin(),
  )
}

/**
 * Listens for connections: the handler of a dispatch source accepts them.
 * @throws as `Net.listen`; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see bind(2), listen(2), accept(2)
 */
export async function listen(
  target: ListenTarget,
  caller: Caller,
  options?: ListenOptions,
): Promise<Listener> {
  const checked = checkListen(target, caller, options)
  checkNetAllowed()
  check()
  if (checked.path !== undefined) return await listenAt({ family: 'Unix', path: checked.path }, checked)
  return await openAtAddress(checked, at => listenAt(at, checked))
}

/**
 * Binds a UDP socket.
 * @throws as `Net.bind`; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see socket(2), bind(2)
 */
export async function bind(target: BindOptions, caller: Caller): Promise<UdpSocket> {
  const checked = checkBind(target, caller)
  checkNetAllowed()
  check()
  return await openAtAddress(checked, at => bindAt(at, checked))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason: not macOS, or no addon */
export function check(): void {
  dispatcher()
}
