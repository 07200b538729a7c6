import { unlink } from 'node:fs'
import { addressesOf, type Checked, type SocketAddress } from '@kiruna/net-socket/address'
import { Listener, type ListenOptions } from '@kiruna/net-socket/listener'
import { type SocketError, socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { type Asker, rankOf } from '@kiruna/priority'
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

/** So many accepts wait at the system: a connection finds one when it comes. */
const mostPosted = 8

/** One that has gone before it was accepted costs nobody anything. */
const gone = new Set(['ECONNRESET', 'ECONNABORTED', 'ECANCELED'].map(errnoOf))
/** All else passes, but not at once: nothing is accepted for a while. The system keeps what comes. */
const pauseMs = 100

/** Accepts with sockets that are made before there is somebody. @see AcceptEx */
export class IocpListener extends Listener {
  readonly address: SocketAddress
  readonly #socket: number
  readonly #posted = new Set<Accept>()
  #isStopping = false
  #pause: NodeJS.Timeout | undefined = undefined

  constructor(socket: number, address: SocketAddress, asker: Asker, options: ListenOptions) {
    super(asker, options)
    this.#socket = socket
    this.address = address
  }

  protected acceptOn(): void {
    this.#isStopping = false
    this.#post()
  }

  protected stopAccepting(): void {
    if (this.#isStopping) return
    this.#isStopping = true
    this.#clearPause()
    for (const accept of this.#posted) port().cancel(accept)
    if (this.#posted.size === 0) this.acceptStopped()
  }

  #post(): void {
    const { native } = port()
    const rank = rankOf(this.asker.priority)
    while (this.#posted.size < mostPosted) {
      const socket = native.openSocket(addressFor(this.address)[0], SOCK_STREAM, true)
      if (socket < 0) {
        this.#failed(socket)
        return
      }
      const accept = new Accept(socket, result => this.#completed(accept, result))
      this.#posted.add(accept)
      native.acceptSocket(port().begin(accept), rank, this.#socket, socket)
    }
  }

  #completed(accept: Accept, result: number): void {
    const { native } = port()
    const { socket } = accept
    this.#posted.delete(accept)
    const error = result < 0 ? result : native.accepted(socket, this.#socket)
    if (error < 0) native.closeSocket(socket)
    else this.accepted(new IocpConnection(socket, this.address.family !== 'Unix', this.asker))
    if (this.#isStopping) {
      if (this.#posted.size === 0) this.acceptStopped()
      return
    }
    if (error < 0 && !gone.has(error)) this.#failed(error)
    else if (this.#pause === undefined) this.#post()
  }

  #failed(error: number): void {
    if (this.#pause !== undefined) return
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      this.#post()
    }, pauseMs)
    this.acceptFailed(socketError(error, 'accept'))
  }

  #clearPause(): void {
    clearTimeout(this.#pause)
    this.#pause = undefined
  }

  protected async closeSocket(): Promise<void> {
    const { address } = this
    port().native.closeSocket(this.#socket)
    if (address.family === 'Unix') {
      await new Promise<void>(resolve => unlink(address.path, () => resolve())) // somebody may have done it
    }
  }

  handOver(one: Waiting<never>): void {
    port().handOver(one)
  }

  delivered(): void {}
}

/** A socket that waits for somebody to connect. */
class Accept implements Completion {
  slot = -1
  readonly socket: number
  readonly complete: (result: number) => void

  constructor(socket: number, complete: (result: number) => void) {
    this.socket = socket
    this.complete = complete
  }
}

/** WSASocket, bind, listen. */
export async function listenOn(
  target: Checked & { backlog: number },
  asker: Asker,
  options: ListenOptions,
): Promise<IocpListener> {
  if (target.path !== undefined) return open({ family: 'Unix', path: target.path }, target, asker, options)
  const { host, port } = target
  if (host === undefined) {
    try {
      return open({ family: 'IPv6', address: '::', port }, target, asker, options) // IPv4 too
    } catch (error) {
      const { code } = error as SocketError
      if (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') throw error
      return open({ family: 'IPv4', address: '0.0.0.0', port }, target, asker, options)
    }
  }
  const [found] = await addressesOf(host)
  asker.signal?.throwIfAborted()
  const { address, family } = found!
  return open({ family: family === 4 ? 'IPv4' : 'IPv6', address, port }, target, asker, options)
}

function open(
  at: SocketAddress,
  { backlog }: { backlog: number },
  asker: Asker,
  options: ListenOptions,
): IocpListener {
  const { native } = port()
  const socket = openSocket(at, SOCK_STREAM, 'listen')
  try {
    // Nobody else may have the port as long as this one does: Windows would let them.
    if (at.family !== 'Unix') native.setOption(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)
    if (at.family === 'IPv6') native.setOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)
    check(native.bindSocket(socket, ...addressFor(at)), 'listen', at)
    check(native.listenSocket(socket, backlog), 'listen', at)
    return new IocpListener(socket, nameOf(socket, false)!, asker, options)
  } catch (error) {
    native.closeSocket(socket)
    throw error
  }
}
