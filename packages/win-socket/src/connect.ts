import type { SocketAddress } from '@kiruna/net-socket/address'
import { Call } from '@kiruna/net-socket/call'
import { Connecting } from '@kiruna/net-socket/connecting'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { port } from '@kiruna/win-iocp/iocp'
import { addressFor, check, openSocket, SOCK_STREAM } from './address.ts'
import { IocpConnection } from './connection.ts'

/** WSASocket, ConnectEx. */
export class IocpConnecting extends Connecting {
  #call: Call | undefined = undefined

  protected async attempt(at: SocketAddress): Promise<IocpConnection> {
    const { native } = port()
    const socket = openSocket(at, SOCK_STREAM, 'connect')
    try {
      const rank = rankOf(this.asker.priority)
      const to = addressFor(reachable(at))
      this.#call = new Call(call => native.connectSocket(port().begin(call), rank, socket, ...to))
      check(await this.#call.result, 'connect', at)
      check(native.connected(socket), 'connect', at)
      return new IocpConnection(socket, at.family !== 'Unix', this.asker)
    } catch (error) {
      native.closeSocket(socket)
      throw error
    }
  }

  /** The call's result comes in any case. */
  protected endAttempt(): void {
    if (this.#call !== undefined) port().cancel(this.#call)
  }

  handOver(one: Waiting<never>): void {
    port().handOver(one)
  }
}

/** Windows cannot connect to 0.0.0.0 or ::, which mean the loopback address elsewhere. */
function reachable(at: SocketAddress): SocketAddress {
  if (at.family === 'IPv4' && at.address === '0.0.0.0') return { ...at, address: '127.0.0.1' }
  if (at.family === 'IPv6' && /^[0:]+$/.test(at.address)) return { ...at, address: '::1' }
  return at
}
