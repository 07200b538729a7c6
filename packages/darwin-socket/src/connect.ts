import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connecting } from '@kiruna/net-socket/connecting'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { DispatchConnection } from './connection.ts'
import { DispatchSocket } from './dispatch-socket.ts'
import { dispatcher } from './dispatcher.ts'

const ECANCELED = errnoOf('ECANCELED')

/** socket, connect. */
export class DispatchConnecting extends Connecting {
  #end: (() => void) | undefined = undefined

  protected async attempt(at: SocketAddress): Promise<DispatchConnection> {
    const socket = DispatchSocket.open(at, false, 'connect')
    const result = await new Promise<number>(resolve => {
      const begun = socket.connect(rankOf(this.asker.priority), at, resolve)
      if (begun !== undefined) resolve(begun)
      this.#end = () => {
        if (socket.cancelWrite()) resolve(ECANCELED)
      }
    })
    if (result === 0) return new DispatchConnection(socket, at.family !== 'Unix', this.asker)
    void socket.close()
    throw socketError(result, 'connect', at)
  }

  protected endAttempt(): void {
    this.#end?.()
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }
}
