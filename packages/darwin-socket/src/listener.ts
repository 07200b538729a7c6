import { exhausted, passing } from '@kiruna/net-socket/accept-errors'
import { removePath, type SocketAddress } from '@kiruna/net-socket/address'
import type { CheckedListen } from '@kiruna/net-socket/arguments'
import { Listener } from '@kiruna/net-socket/listener'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { DispatchConnection } from './connection.ts'
import { DispatchSocket } from './dispatch-socket.ts'
import { dispatcher } from './dispatcher.ts'

/** Accepts in the handler of a source, several at a time. @see accept(2) */
class DispatchListener extends Listener {
  readonly #socket: DispatchSocket

  /** @param socket listening; this listener owns it from now on */
  constructor(socket: DispatchSocket, checked: CheckedListen) {
    super(socket.name(false)!, checked)
    this.#socket = socket
  }

  protected startAccepting(): void {
    this.#socket.accept(rankOf(this.asker.priority), this.#onAccepted)
  }

  readonly #onAccepted = (result: number, sockets: DispatchSocket[]): void => {
    for (const socket of sockets) {
      this.accepted(new DispatchConnection(socket, this.address.family !== 'Unix', this.asker))
    }
    if (this.isStopping) this.acceptStopped()
    else if (result >= 0 || passing.has(result)) this.startAccepting()
    else if (exhausted.has(result)) this.acceptPaused(socketError(result, 'accept'))
    else this.acceptEnded(socketError(result, 'accept'))
  }

  protected stopAccepting(): void {
    if (this.#socket.cancelRead() || !this.#socket.read.isUnderWay) this.acceptStopped()
  }

  protected async closeSocket(): Promise<void> {
    await removePath(this.address)
    await this.#socket.close()
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }
}

/**
 * socket, bind, listen.
 * @throws EADDRINUSE, EACCES … (`err.code`)
 */
export function listenAt(at: SocketAddress, checked: CheckedListen): DispatchListener {
  const socket = DispatchSocket.open(at, false, 'listen')
  try {
    if (at.family !== 'Unix') socket.set('reuseAddress', true)
    if (at.family === 'IPv6') socket.set('ipv6Only', false) // IPv4 too
    socket.bind(at, 'listen')
    socket.listen(checked.backlog, at)
    return new DispatchListener(socket, checked)
  } catch (error) {
    void socket.close()
    throw error
  }
}
