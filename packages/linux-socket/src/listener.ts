import { constants } from 'node:os'
import { ring } from '@kiruna/linux-uring/ring'
import { type Completion, IORING_CQE_F_MORE, prepAccept } from '@kiruna/linux-uring/sqe'
import { removePath, type SocketAddress } from '@kiruna/net-socket/address'
import type { CheckedListen } from '@kiruna/net-socket/arguments'
import { Listener } from '@kiruna/net-socket/listener'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import {
  check,
  closeSocket,
  getsockname,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  openSocket,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  setsockopt,
  TCP_NODELAY,
} from './calls.ts'
import { UringConnection } from './connection.ts'
import { sockaddrOf } from './sockaddr.ts'

const { errno } = constants
const exhausted = new Set([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM].map(one => -one))

/** Accepts with one submission for many connections. @see io_uring_prep_multishot_accept(3) */
class UringListener extends Listener implements Completion {
  slot = -1
  readonly #fd: number

  /** @param fd listening; this listener owns it from now on */
  constructor(fd: number, checked: CheckedListen) {
    super(getsockname(fd, false)!, checked)
    this.#fd = fd
  }

  protected startAccepting(): void {
    const to = ring()
    prepAccept(to, to.sqe(this.#fd, this, true))
    to.submitWithTurn(rankOf(this.asker.priority))
  }

  protected stopAccepting(): void {
    if (this.slot === -1) this.acceptStopped()
    else ring().cancel(this)
  }

  complete(result: number, flags: number): void {
    if (result >= 0) this.accepted(new UringConnection(result, this.address.family !== 'Unix', this.asker))
    if ((flags & IORING_CQE_F_MORE) !== 0) return
    if (exhausted.has(result)) this.acceptPaused(socketError(result, 'accept'))
    // A peer that has left before it was accepted (ECONNABORTED, EPROTO, …) is no error of the listener: see accept(2).
    else this.acceptStopped()
  }

  protected async closeSocket(): Promise<void> {
    await removePath(this.address)
    await closeSocket(this.#fd)
  }

  handOver(one: Waiting<never>): void {
    ring().handOver(one)
  }

  override delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) ring().delivered(one.deliveredRank)
  }
}

/**
 * socket, bind, listen.
 * @throws EADDRINUSE, EACCES … (`err.code`); the signal's reason
 */
export async function listenAt(at: SocketAddress, checked: CheckedListen): Promise<UringListener> {
  const { asker, backlog } = checked
  const fd = await openSocket(at, SOCK_STREAM, rankOf(asker.priority), 'listen')
  try {
    asker.signal?.throwIfAborted()
    if (at.family !== 'Unix') {
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1)
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1) // its connections inherit it
    }
    if (at.family === 'IPv6') setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) // IPv4 too
    check(ring().native.bind(fd, sockaddrOf(at)), 'listen', at)
    check(ring().native.listen(fd, backlog), 'listen', at)
    return new UringListener(fd, checked)
  } catch (error) {
    ring().close(fd)
    throw error
  }
}
