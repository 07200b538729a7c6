import { ring } from '@kiruna/linux-uring/ring'
import { prepAccept } from '@kiruna/linux-uring/socket-sqe'
import type { Completion } from '@kiruna/linux-uring/sqe'
import { exhausted, passing } from '@kiruna/net-socket/accept-errors'
import { removePath, type SocketAddress } from '@kiruna/net-socket/address'
import type { CheckedListen } from '@kiruna/net-socket/arguments'
import { Listener } from '@kiruna/net-socket/listener'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import {
  check,
  closeSocket,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  nameOf,
  openSocket,
  SO_REUSEADDR,
  SOCK_STREAM,
  SOL_SOCKET,
  setsockopt,
  TCP_NODELAY,
} from './calls.ts'
import { UringConnection } from './connection.ts'
import { sockaddrOf } from './sockaddr.ts'

/** Accepts under way. More than one, so that each turn of the event loop accepts several. */
const mostUnderWay = 8

/** Accepts with a few submissions at a time, each for one connection: a multishot one knows no bound. */
class UringListener extends Listener {
  readonly #fd: number
  readonly #underWay = new Set<Accepting>()

  /** @param fd listening; this listener owns it from now on */
  constructor(fd: number, checked: CheckedListen) {
    super(nameOf(fd, 'listen'), checked)
    this.#fd = fd
  }

  protected startAccepting(): void {
    const to = ring()
    while (this.#underWay.size < Math.min(mostUnderWay, this.room)) {
      const one = new Accepting(this)
      prepAccept(to, to.sqe(this.#fd, one, true))
      this.#underWay.add(one)
    }
    to.submitWithTurn(rankOf(this.asker.priority))
  }

  protected stopAccepting(): void {
    if (this.#underWay.size === 0) this.acceptStopped()
    for (const one of this.#underWay) ring().cancel(one)
  }

  /** @internal */
  acceptCompleted(one: Accepting, result: number): void {
    this.#underWay.delete(one)
    if (result >= 0) this.accepted(new UringConnection(result, this.address.family !== 'Unix', this.asker))
    else if (exhausted.has(result)) this.acceptPaused(socketError(result, 'accept'))
    else if (!passing.has(result)) this.acceptEnded(socketError(result, 'accept'))
    if (this.isStopping) {
      if (this.#underWay.size === 0) this.acceptStopped()
    } else if (!this.isPaused && !this.isOver) this.startAccepting()
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

/** One accept. @see io_uring_prep_accept(3) */
class Accepting implements Completion {
  slot = -1
  readonly #listener: UringListener

  constructor(listener: UringListener) {
    this.#listener = listener
  }

  complete(result: number): void {
    this.#listener.acceptCompleted(this, result)
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
