import { ring } from '@kiruna/linux-uring/ring'
import { prepConnect } from '@kiruna/linux-uring/sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connecting, ETIMEDOUT } from '@kiruna/net-socket/connecting'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { Call, openSocket, setsockopt } from './call.ts'
import { UringConnection } from './connection.ts'
import { familyOf, sockaddrOf } from './sockaddr.ts'

// linux/net.h, netinet/tcp.h
const SOCK_STREAM = 1
const IPPROTO_TCP = 6
const TCP_NODELAY = 1

/** socket, connect. */
export class UringConnecting extends Connecting {
  #attempt: Call | undefined = undefined

  protected async attempt(at: SocketAddress, limitMs: number): Promise<UringConnection> {
    const rank = rankOf(this.asker.priority)
    const fd = await openSocket(familyOf(at), SOCK_STREAM, rank, 'connect', at)
    let isLate = false
    let timer: NodeJS.Timeout | undefined
    try {
      const sockaddr = sockaddrOf(at) // held until the kernel has read it
      const attempt = new Call(done => {
        const to = ring()
        prepConnect(to, to.sqe(fd, done), sockaddr)
        to.submitWithTurn(rank)
      })
      this.#attempt = attempt
      if (this.isAborted) attempt.cancel()
      if (limitMs > 0) {
        timer = setTimeout(() => {
          isLate = true
          attempt.cancel()
        }, limitMs)
      }
      const result = await attempt.result
      if (result < 0) throw socketError(isLate ? ETIMEDOUT : result, 'connect', at)
      const isTcp = at.family !== 'Unix'
      if (isTcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1)
      return new UringConnection(fd, isTcp, this.asker)
    } catch (error) {
      ring().close(fd)
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
    ring().handOver(one)
  }

  override delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) ring().delivered(one.deliveredRank)
  }
}
