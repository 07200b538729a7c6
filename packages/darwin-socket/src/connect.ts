import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connecting, ETIMEDOUT } from '@kiruna/net-socket/connecting'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { rankOf } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { DispatchConnection } from './connection.ts'
import { dispatcher } from './dispatcher.ts'
import { DispatchSocket } from './half.ts'

const ECANCELED = errnoOf('ECANCELED')

/** socket, connect. */
export class DispatchConnecting extends Connecting {
  /** Ends the attempt with an errno, unless it has its result. */
  #end: ((errno: number) => void) | undefined = undefined

  protected async attempt(at: SocketAddress, limitMs: number): Promise<DispatchConnection> {
    const socket = DispatchSocket.open(at, false, 'connect')
    let timer: NodeJS.Timeout | undefined
    const result = await new Promise<number>(resolve => {
      const begun = socket.connect(rankOf(this.asker.priority), at, resolve)
      if (begun !== undefined) {
        resolve(begun)
        return
      }
      this.#end = errno => {
        if (socket.cancelWrite()) resolve(errno)
      }
      if (limitMs > 0) timer = setTimeout(this.#end, limitMs, ETIMEDOUT)
    })
    clearTimeout(timer)
    this.#end = undefined
    if (result === 0) return new DispatchConnection(socket, at.family !== 'Unix', this.asker)
    void socket.close()
    throw socketError(result, 'connect', at)
  }

  protected endAttempt(): void {
    this.#end?.(ECANCELED)
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }
}
