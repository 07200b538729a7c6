import type { AddressInfo, Server, Socket } from 'node:net'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Listener, type ListenOptions } from '@kiruna/net-socket/listener'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { handOver } from './batch.ts'
import { LibuvConnection } from './connection.ts'

/** A net.Server cannot be told to wait: what it accepts beyond what is asked for is kept, up to the backlog. */
export class LibuvListener extends Listener {
  readonly address: SocketAddress
  readonly #server: Server
  readonly #mostKept: number
  readonly #kept = new Set<Socket>()
  #isAccepting = false

  constructor(
    server: Server,
    path: string | undefined,
    backlog: number,
    asker: Asker,
    options: ListenOptions,
  ) {
    super(asker, options)
    this.#server = server
    this.#mostKept = backlog
    this.address = path === undefined ? addressOf(server.address() as AddressInfo) : { family: 'Unix', path }
    server
      .on('connection', this.#came)
      .on('error', error => this.acceptFailed(error))
      .unref()
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  delivered(): void {}

  readonly #came = (socket: Socket): void => {
    if (this.#isAccepting) {
      this.#accept(socket)
    } else if (this.#kept.size === this.#mostKept) {
      socket.destroy()
    } else {
      socket.on('error', ignored).once('close', () => this.#kept.delete(socket))
      this.#kept.add(socket)
    }
  }

  #accept(socket: Socket): void {
    const remote: SocketAddress | undefined =
      this.address.family === 'Unix' ? { family: 'Unix', path: '' } : undefined
    const local = remote === undefined ? undefined : this.address
    this.accepted(new LibuvConnection(socket, this.asker, local, remote))
  }

  protected acceptOn(): void {
    this.#isAccepting = true
    this.#server.ref()
    for (const socket of this.#kept) {
      if (!this.#isAccepting) return
      this.#kept.delete(socket)
      socket.off('error', ignored)
      this.#accept(socket)
    }
  }

  protected stopAccepting(): void {
    if (!this.#isAccepting) return
    this.#isAccepting = false
    this.#server.unref()
    this.acceptStopped()
  }

  /** The port is free, and a path is gone, when this returns; the callback would wait for the connections. */
  protected async closeSocket(): Promise<void> {
    for (const socket of this.#kept) socket.destroy()
    this.#server.close()
  }
}

function addressOf({ address, port, family }: AddressInfo): SocketAddress {
  return { family: family === 'IPv6' ? 'IPv6' : 'IPv4', address, port }
}

const ignored = () => {}
