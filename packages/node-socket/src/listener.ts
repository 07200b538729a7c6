import type { AddressInfo, Server, Socket } from 'node:net'
import { internetAddress, type SocketAddress } from '@kiruna/net-socket/address'
import type { CheckedListen } from '@kiruna/net-socket/arguments'
import { Listener } from '@kiruna/net-socket/listener'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { handOver } from './batch.ts'
import { LibuvConnection } from './connection.ts'

/** A net.Server cannot pause: connections that it accepts and nobody has asked for are kept, up to the backlog. */
export class LibuvListener extends Listener {
  readonly #server: Server
  readonly #mostKept: number
  readonly #kept = new Set<Socket>()
  #isAccepting = false

  /** @param server listening; this listener owns it from now on */
  constructor(server: Server, checked: CheckedListen) {
    super(addressOf(server.address()!), checked)
    this.#server = server
    this.#mostKept = checked.backlog
    server
      .on('connection', this.#onConnection)
      .on('error', error => this.acceptFailed(error))
      .unref()
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  readonly #onConnection = (socket: Socket): void => {
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

  protected startAccepting(): void {
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
    this.#isAccepting = false
    this.#server.unref()
    this.acceptStopped()
  }

  /** When `close` returns, the port is free and a path is removed. Its callback would wait for the connections. */
  protected async closeSocket(): Promise<void> {
    for (const socket of this.#kept) socket.destroy()
    this.#server.close()
  }
}

/** @param at a path for a Unix-domain socket */
function addressOf(at: AddressInfo | string): SocketAddress {
  return typeof at === 'string' ? { family: 'Unix', path: at } : internetAddress(at.address, at.port)
}

const ignored = () => {}
