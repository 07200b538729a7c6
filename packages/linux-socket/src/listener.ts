import { unlink } from 'node:fs'
import { constants } from 'node:os'
import { ring } from '@kiruna/linux-uring/ring'
import { type Completion, IORING_CQE_F_MORE, prepAccept } from '@kiruna/linux-uring/sqe'
import { addressesOf, type Checked, type SocketAddress } from '@kiruna/net-socket/address'
import { Listener, type ListenOptions } from '@kiruna/net-socket/listener'
import { type SocketError, socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { type Asker, rankOf } from '@kiruna/priority'
import { call, checkResult, openSocket, setsockopt } from './call.ts'
import { UringConnection } from './connection.ts'
import { familyOf, namesOf, sockaddrOf } from './sockaddr.ts'

// linux/net.h, linux/socket.h, netinet/tcp.h, linux/in6.h
const SOCK_STREAM = 1
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const IPPROTO_TCP = 6
const TCP_NODELAY = 1
const IPPROTO_IPV6 = 41
const IPV6_V6ONLY = 26

const { errno } = constants
/** They pass, but not at once: nothing is accepted for a while. The kernel keeps what comes. */
const exhausted = new Set([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM].map(one => -one))
const pauseMs = 100

/** Accepts with one submission for many connections. @see io_uring_prep_multishot_accept(3) */
export class UringListener extends Listener implements Completion {
  slot = -1
  readonly address: SocketAddress
  readonly #fd: number
  #isStopping = false
  #pause: NodeJS.Timeout | undefined = undefined

  constructor(fd: number, address: SocketAddress, asker: Asker, options: ListenOptions) {
    super(asker, options)
    this.#fd = fd
    this.address = address
  }

  protected acceptOn(): void {
    this.#isStopping = false
    const to = ring()
    prepAccept(to, to.sqe(this.#fd, this, true))
    to.submitWithTurn(rankOf(this.asker.priority))
  }

  protected stopAccepting(): void {
    if (this.#pause !== undefined) this.#resume()
    else if (!this.#isStopping) {
      this.#isStopping = true
      ring().cancel(this)
    }
  }

  complete(result: number, flags: number): void {
    if (result >= 0) this.accepted(new UringConnection(result, this.address.family !== 'Unix', this.asker))
    if ((flags & IORING_CQE_F_MORE) !== 0) return
    // One that has gone before it was accepted (ECONNABORTED, EPROTO, …) costs nobody anything: see accept(2).
    if (!exhausted.has(result)) {
      this.acceptStopped()
      return
    }
    this.#pause = setTimeout(() => this.#resume(), pauseMs)
    this.acceptFailed(socketError(result, 'accept'))
  }

  #resume(): void {
    clearTimeout(this.#pause)
    this.#pause = undefined
    this.acceptStopped()
  }

  protected async closeSocket(): Promise<void> {
    const { address } = this
    if (address.family === 'Unix' && !address.path.startsWith('\0')) {
      await new Promise<void>(resolve => unlink(address.path, () => resolve())) // somebody may have done it
    }
    await call(done => ring().close(this.#fd, done), 'close').catch(() => {})
  }

  handOver(one: Waiting<never>): void {
    ring().handOver(one)
  }

  delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) ring().delivered(one.deliveredRank)
  }
}

/** socket, bind, listen. */
export async function listenOn(
  target: Checked & { backlog: number },
  asker: Asker,
  options: ListenOptions,
): Promise<UringListener> {
  if (target.path !== undefined) return open({ family: 'Unix', path: target.path }, target, asker, options)
  const { host, port } = target
  if (host === undefined) {
    try {
      return await open({ family: 'IPv6', address: '::', port }, target, asker, options) // IPv4 too
    } catch (error) {
      const { code } = error as SocketError
      if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') throw error
      return open({ family: 'IPv4', address: '0.0.0.0', port }, target, asker, options)
    }
  }
  const [found] = await addressesOf(host)
  const { address, family } = found!
  return open({ family: family === 4 ? 'IPv4' : 'IPv6', address, port }, target, asker, options)
}

async function open(
  at: SocketAddress,
  { backlog }: { backlog: number },
  asker: Asker,
  options: ListenOptions,
): Promise<UringListener> {
  const rank = rankOf(asker.priority)
  const fd = await openSocket(familyOf(at), SOCK_STREAM, rank, 'listen', at)
  const set = (level: number, name: number, value: number) => void setsockopt(fd, level, name, value)
  try {
    asker.signal?.throwIfAborted()
    if (at.family !== 'Unix') {
      set(SOL_SOCKET, SO_REUSEADDR, 1)
      set(IPPROTO_TCP, TCP_NODELAY, 1) // its connections have it from there
      if (at.family === 'IPv6') set(IPPROTO_IPV6, IPV6_V6ONLY, 0)
    }
    checkResult(ring().native.bind(fd, sockaddrOf(at)), 'listen', at)
    checkResult(ring().native.listen(fd, backlog), 'listen', at)
    return new UringListener(fd, namesOf(fd, false)!, asker, options)
  } catch (error) {
    ring().close(fd)
    throw error
  }
}
