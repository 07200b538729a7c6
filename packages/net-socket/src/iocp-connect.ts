import { rankOf } from '@kiruna/priority'
import { port } from '@kiruna/win-iocp/iocp'
import type { SocketAddress } from './address.ts'
import { Connecting, ETIMEDOUT } from './connecting.ts'
import { addressFor, check, openSocket, reachable, SOCK_STREAM } from './iocp-address.ts'
import { Call } from './iocp-call.ts'
import { IocpConnection } from './iocp-connection.ts'
import type { Waiting } from './waiting.ts'

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
