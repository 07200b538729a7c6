import { ring } from '@kiruna/linux-uring/ring'
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
import { UringConnecting } from './connect.ts'
import { listenAt } from './listener.ts'
import { bindAt } from './udp.ts'

export type * from '@kiruna/net-socket'

/**
 * Connects a stream socket.
 * @throws as `Net.connect`; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see io_uring_prep_connect(3), connect(2)
 */
export async function connect(target: ConnectTarget, caller: Caller): Promise<Connection> {
  const checked = checkConnect(target, caller)
  checkNetAllowed()
  check()
  return await promised<Connection>((resolve, reject) =>
    new UringConnecting(checked, resolve, reject).begin(),
  )
}

/**
 * Listens for connections.
 * @throws as `Net.listen`; ERR_KIRUNA_UNAVAILABLE with the reason
 * @see io_uring_prep_accept(3), listen(2)
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

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason: not Linux, no addon, no io_uring */
export function check(): void {
  ring()
}
