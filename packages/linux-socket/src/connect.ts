import { ring } from '@kiruna/linux-uring/ring'
import { prepConnect } from '@kiruna/linux-uring/socket-sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Call } from '@kiruna/net-socket/call'
import { Connecting } from '@kiruna/net-socket/connecting'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { check, IPPROTO_TCP, openSocket, SOCK_STREAM, setsockopt, TCP_NODELAY } from './calls.ts'
import { UringConnection } from './connection.ts'
import { sockaddrOf } from './sockaddr.ts'

/** socket, connect. */
export class UringConnecting extends Connecting {
  #call: Call | undefined = undefined

  protected async attempt(at: SocketAddress): Promise<UringConnection> {
    const rank = rankOf(this.asker.priority)
    const fd = await openSocket(at, SOCK_STREAM, rank, 'connect')
    try {
      const sockaddr = sockaddrOf(at) // held until the kernel has read it
      this.#call = new Call(call => {
        const to = ring()
        prepConnect(to, to.sqe(fd, call), sockaddr)
        to.submitWithTurn(rank)
      })
      if (this.mustEnd) this.endAttempt()
      check(await this.#call.result, 'connect', at)
      const isTcp = at.family !== 'Unix'
      if (isTcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1)
      return new UringConnection(fd, isTcp, this.asker)
    } catch (error) {
      ring().close(fd)
      throw error
    }
  }

  /** The call's result comes in any case. */
  protected endAttempt(): void {
    if (this.#call !== undefined) ring().cancel(this.#call)
  }

  handOver(one: Waiting<never>): void {
    ring().handOver(one)
  }

  override delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) ring().delivered(one.deliveredRank)
  }
}
