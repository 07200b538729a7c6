import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connecting, ETIMEDOUT } from '@kiruna/net-socket/connecting'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { port } from '@kiruna/win-iocp/iocp'
import { addressFor, check, openSocket, reachable, SOCK_STREAM } from './address.ts'
import { Call } from './call.ts'
import { IocpConnection } from './connection.ts'

/** WSASocket, ConnectEx. */
export class IocpConnecting extends Connecting {
  #attempt: Call | undefined = undefined

  protected async attempt(at: SocketAddress, limitMs: number): Promise<IocpConnection> {
    const { native } = port()
    const socket = openSocket(at, SOCK_STREAM, 'connect')
    let isLate = false
    let timer: NodeJS.Timeout | undefined
    try {
      const rank = rankOf(this.asker.priority)
      const attempt = new Call(slot => native.connectSocket(slot, rank, socket, ...addressFor(reachable(at))))
      this.#attempt = attempt
      if (limitMs > 0) {
        timer = setTimeout(() => {
          isLate = true
          attempt.cancel()
        }, limitMs)
      }
      const result = await attempt.result
      check(isLate && result < 0 ? ETIMEDOUT : result, 'connect', at)
      check(native.connected(socket), 'connect', at)
      return new IocpConnection(socket, at.family !== 'Unix', this.asker)
    } catch (error) {
      native.closeSocket(socket)
      throw error
    } finally {
      clearTimeout(timer)
      this.#attempt = undefined
    }
  }

  protected endAttempt(): void {
    this.#attempt?.cancel()
  }

  handOver(one: Waiting<never>): void {
    port().handOver(one)
  }
}
