import { unlink } from 'node:fs'
import { addressesOf, type Checked, type SocketAddress } from '@kiruna/net-socket/address'
import { Listener, type ListenOptions } from '@kiruna/net-socket/listener'
import { type SocketError, socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { type Asker, rankOf } from '@kiruna/priority'
import { DispatchConnection } from './connection.ts'
import { dispatcher } from './dispatcher.ts'
import { DispatchSocket } from './half.ts'

/** What keeps it from accepting passes, but not at once. The kernel keeps what comes. */
const pauseMs = 100

/** Accepts in the handler of a source, some at a time. @see accept(2) */
export class DispatchListener extends Listener {
  readonly address: SocketAddress
  readonly #socket: DispatchSocket
  #isStopping = false
  #pause: NodeJS.Timeout | undefined = undefined

  constructor(socket: DispatchSocket, address: SocketAddress, asker: Asker, options: ListenOptions) {
    super(asker, options)
    this.#socket = socket
    this.address = address
  }

  protected acceptOn(): void {
    this.#isStopping = false
    this.#accept()
  }

  #accept(): void {
    this.#socket.accept(rankOf(this.asker.priority), this.#came)
  }

  readonly #came = (result: number, sockets: DispatchSocket[]): void => {
    for (const socket of sockets) {
      this.accepted(new DispatchConnection(socket, this.address.family !== 'Unix', this.asker))
    }
    if (this.#isStopping) this.acceptStopped()
    else if (result >= 0) this.#accept()
    else {
      this.#pause = setTimeout(() => this.#resume(), pauseMs)
      this.acceptFailed(socketError(result, 'accept'))
    }
  }

  protected stopAccepting(): void {
    this.#isStopping = true
    if (this.#pause !== undefined) this.#resume()
    else if (this.#socket.cancelRead()) this.acceptStopped()
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
    await this.#socket.close()
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }

  delivered(): void {}
}

/** socket, bind, listen. */
export async function listenOn(
  target: Checked & { backlog: number },
  asker: Asker,
  options: ListenOptions,
): Promise<DispatchListener> {
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
): DispatchListener {
  const socket = DispatchSocket.open(at, false, 'listen')
  try {
    if (at.family !== 'Unix') socket.set('reuseAddress', true)
    if (at.family === 'IPv6') socket.set('ipv6Only', false)
    socket.bind(at, 'listen')
    socket.listen(backlog, at)
    return new DispatchListener(socket, socket.name(false)!, asker, options)
  } catch (error) {
    void socket.close()
    throw error
  }
}
