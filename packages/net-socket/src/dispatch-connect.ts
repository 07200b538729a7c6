import { constants } from 'node:os'
import { type Asker, rankOf } from '@kiruna/priority'
import { addressesOf, type Checked, type SocketAddress } from './address.ts'
import { DispatchConnection } from './dispatch-connection.ts'
import { DispatchSocket } from './dispatch-socket.ts'
import { dispatcher } from './dispatcher.ts'
import { socketError } from './socket-error.ts'
import { type Owner, Waiting } from './waiting.ts'

const ETIMEDOUT = -constants.errno.ETIMEDOUT
const ECANCELED = -constants.errno.ECANCELED

/** An address that does not answer has so long while there are others, as in node:net. */
const attemptMs = 250

/** socket, connect: one attempt for each address of the host, until one succeeds. */
export class Connecting implements Owner {
  readonly asker: Asker
  readonly #target: Checked
  readonly #waiting: Waiting<DispatchConnection>
  /** Ends the attempt with an errno, unless it has its result. */
  #endAttempt: ((errno: number) => void) | undefined = undefined
  #isAborted = false

  constructor(
    target: Checked,
    asker: Asker,
    resolve: (connection: DispatchConnection) => void,
    reject: (reason: unknown) => void,
  ) {
    this.asker = asker
    this.#target = target
    this.#waiting = new Waiting(this, asker, resolve, reject)
    if (this.#waiting.begin()) void this.#run()
  }

  async #run(): Promise<void> {
    try {
      const socket = await this.#connect()
      if (this.#isAborted) void socket.close()
      else this.#waiting.succeed(new DispatchConnection(socket, this.#target.path === undefined, this.asker))
    } catch (error) {
      this.#waiting.fail(error)
    }
  }

  async #connect(): Promise<DispatchSocket> {
    const { path } = this.#target
    if (path !== undefined) return this.#try({ family: 'Unix', path }, 0)
    const { port, host = 'localhost' } = this.#target
    const addresses = await addressesOf(host)
    let first: unknown
    for (const [index, { address, family }] of addresses.entries()) {
      if (this.#isAborted) break
      try {
        const at: SocketAddress = { family: family === 4 ? 'IPv4' : 'IPv6', address, port }
        return await this.#try(at, index < addresses.length - 1 ? attemptMs : 0)
      } catch (error) {
        first ??= error
      }
    }
    throw first
  }

  /** @param limitMs 0: as long as it takes. @returns a connected socket */
  async #try(at: SocketAddress, limitMs: number): Promise<DispatchSocket> {
    const socket = DispatchSocket.open(at, false, 'connect')
    let timer: NodeJS.Timeout | undefined
    const result = await new Promise<number>(resolve => {
      const begun = socket.connect(rankOf(this.asker.priority), at, resolve)
      if (begun !== undefined) {
        resolve(begun)
        return
      }
      this.#endAttempt = errno => {
        if (socket.cancelWrite()) resolve(errno)
      }
      if (limitMs > 0) timer = setTimeout(this.#endAttempt, limitMs, ETIMEDOUT)
    })
    clearTimeout(timer)
    this.#endAttempt = undefined
    if (result === 0) return socket
    void socket.close()
    throw socketError(result, 'connect', at)
  }

  /** It rejects at once. What comes of it all the same is closed. */
  abort(one: Waiting<never>, reason: unknown): void {
    this.#isAborted = true
    this.#endAttempt?.(ECANCELED)
    one.fail(reason)
  }

  reranked(): void {}

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }

  delivered(): void {}
}
