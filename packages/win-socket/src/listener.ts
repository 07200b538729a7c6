import { exhausted, passing } from '@kiruna/net-socket/accept-errors'
import { removePath, type SocketAddress } from '@kiruna/net-socket/address'
import type { CheckedListen } from '@kiruna/net-socket/arguments'
import { Listener } from '@kiruna/net-socket/listener'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { type Completion, port } from '@kiruna/win-iocp/iocp'
import {
  addressFor,
  check,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  nameOf,
  openSocket,
  SO_EXCLUSIVEADDRUSE,
  SOCK_STREAM,
  SOL_SOCKET,
} from './address.ts'
import { IocpConnection } from './connection.ts'

/** How many accepts wait at the system, so that a new connection finds one. */
const mostPosted = 8

/** Errors of a peer that has left before it was accepted: no error of the listener. */
const gone = new Set(['ECONNRESET', 'ECONNABORTED', 'ECANCELED', 'ENOTCONN'].map(errnoOf))

/**
 * Accepts with sockets that are made in advance.
 * @see https://learn.microsoft.com/windows/win32/api/mswsock/nf-mswsock-acceptex
 */
class IocpListener extends Listener {
  readonly #socket: number
  readonly #posted = new Set<Accept>()

  /** @param socket listening; this listener owns it from now on */
  constructor(socket: number, checked: CheckedListen) {
    super(nameOf(socket, false)!, checked)
    this.#socket = socket
  }

  protected startAccepting(): void {
    const { native } = port()
    const rank = rankOf(this.asker.priority)
    while (this.#posted.size < Math.min(mostPosted, this.room)) {
      const socket = native.openSocket(addressFor(this.address)[0], SOCK_STREAM, true)
      if (socket < 0) {
        this.acceptPaused(socketError(socket, 'accept'))
        return
      }
      const accept = new Accept(socket, result => this.#completed(accept, result))
      this.#posted.add(accept)
      native.acceptSocket(port().begin(accept), rank, this.#socket, socket)
    }
  }

  protected stopAccepting(): void {
    for (const accept of this.#posted) port().cancel(accept)
    if (this.#posted.size === 0) this.acceptStopped()
  }

  #completed(accept: Accept, result: number): void {
    const { native } = port()
    const { socket } = accept
    this.#posted.delete(accept)
    const error = result < 0 ? result : native.accepted(socket, this.#socket)
    if (error < 0) native.closeSocket(socket)
    else this.accepted(new IocpConnection(socket, this.address.family !== 'Unix', this.asker))
    if (this.isStopping) {
      if (this.#posted.size === 0) this.acceptStopped()
    } else if (exhausted.has(error)) this.acceptPaused(socketError(error, 'accept'))
    else if (error < 0 && !passing.has(error) && !gone.has(error))
      this.acceptEnded(socketError(error, 'accept'))
    else if (!this.isPaused && !this.isOver) this.startAccepting()
  }

  protected async closeSocket(): Promise<void> {
    port().native.closeSocket(this.#socket)
    await removePath(this.address)
  }

  handOver(one: Waiting<never>): void {
    port().handOver(one)
  }
}

/** A socket that waits for a connection. */
class Accept implements Completion {
  slot = -1
  readonly socket: number
  readonly complete: (result: number) => void

  constructor(socket: number, complete: (result: number) => void) {
    this.socket = socket
    this.complete = complete
  }
}

/**
 * WSASocket, bind, listen.
 * @throws EADDRINUSE, EACCES … (`err.code`)
 */
export function listenAt(at: SocketAddress, checked: CheckedListen): IocpListener {
  const { native } = port()
  const socket = openSocket(at, SOCK_STREAM, 'listen')
  try {
    // Without this, Windows would let others bind the same port.
    if (at.family !== 'Unix') native.setOption(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)
    if (at.family === 'IPv6') native.setOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0) // IPv4 too
    check(native.bindSocket(socket, ...addressFor(at)), 'listen', at)
    check(native.listenSocket(socket, checked.backlog), 'listen', at)
    return new IocpListener(socket, checked)
  } catch (error) {
    native.closeSocket(socket)
    throw error
  }
}
