import { type Asker, rankOf } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { port } from '@kiruna/win-iocp/iocp'
import { addressesOf, type Checked, type SocketAddress } from './address.ts'
import { addressFor, check, openSocket, reachable, SOCK_STREAM } from './iocp-address.ts'
import { Call } from './iocp-call.ts'
import { IocpConnection } from './iocp-connection.ts'
import { type Owner, Waiting } from './waiting.ts'

const ETIMEDOUT = errnoOf('ETIMEDOUT')

/** An address that does not answer has so long while there are others, as in node:net. */
const attemptMs = 250

/** WSASocket, ConnectEx: one attempt for each address of the host, until one succeeds. */
export class Connecting implements Owner {
  readonly asker: Asker
  readonly #target: Checked
  readonly #waiting: Waiting<IocpConnection>
  #attempt: Call | undefined = undefined
  #isAborted = false

  constructor(
    target: Checked,
    asker: Asker,
    resolve: (connection: IocpConnection) => void,
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
      const connection = new IocpConnection(socket, this.#target.path === undefined, this.asker)
      if (this.#isAborted) void connection.close()
      else this.#waiting.succeed(connection)
    } catch (error) {
      this.#waiting.fail(error)
    }
  }

  async #connect(): Promise<number> {
    const { path } = this.#target
    if (path !== undefined) return this.#try({ family: 'Unix', path })
    const { port, host = 'localhost' } = this.#target
    const addresses = await addressesOf(host)
    let first: unknown
    for (const [index, { address, family }] of addresses.entries()) {
      try {
        const at: SocketAddress = { family: family === 4 ? 'IPv4' : 'IPv6', address, port }
        return await this.#try(at, index < addresses.length - 1 ? attemptMs : 0)
      } catch (error) {
        if (this.#isAborted) throw error
        first ??= error
      }
    }
    throw first
  }

  /** @param limitMs 0: as long as it takes. @returns a connected socket */
  async #try(at: SocketAddress, limitMs = 0): Promise<number> {
    if (this.#isAborted) throw undefined
    const { native } = port()
    const socket = openSocket(at, SOCK_STREAM, 'connect')
    let isLate = false
    let timer: NodeJS.Timeout | undefined
    try {
      const rank = rankOf(this.asker.priority)
      const attempt = new Call(slot => native.connectSocket(slot, rank, socket, ...addressFor(reachable(at))))
      this.#attempt = attempt
      if (limitMs > 0) {
        timer = setTimeout(() => {
          isLate = true
          attempt.cancel()
        }, limitMs)
      }
      const result = await attempt.result
      check(isLate && result < 0 ? ETIMEDOUT : result, 'connect', at)
      check(native.connected(socket), 'connect', at)
      return socket
    } catch (error) {
      native.closeSocket(socket)
      throw error
    } finally {
      clearTimeout(timer)
      this.#attempt = undefined
    }
  }

  /** It rejects at once. What the system makes of it all the same is closed. */
  abort(one: Waiting<never>, reason: unknown): void {
    this.#isAborted = true
    this.#attempt?.cancel()
    one.fail(reason)
  }

  reranked(): void {}

  handOver(one: Waiting<never>): void {
    port().handOver(one)
  }

  delivered(): void {}
}
