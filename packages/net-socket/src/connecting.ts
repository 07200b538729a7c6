import type { Asker } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { addressesOf, type Checked, type SocketAddress } from './address.ts'
import type { Connection } from './connection.ts'
import { type Owner, Waiting } from './waiting.ts'

export const ETIMEDOUT = errnoOf('ETIMEDOUT')

/** An address that does not answer has so long while there are others, as in node:net. */
const attemptMs = 250

/** One attempt for each address of the host, until one succeeds. A subclass makes the system calls of an attempt. */
export abstract class Connecting implements Owner {
  readonly asker: Asker
  protected isAborted = false
  readonly #target: Checked
  readonly #waiting: Waiting<Connection>

  constructor(
    target: Checked,
    asker: Asker,
    resolve: (connection: Connection) => void,
    reject: (reason: unknown) => void,
  ) {
    this.asker = asker
    this.#target = target
    this.#waiting = new Waiting(this, asker, resolve, reject)
  }

  /** @param limitMs then it fails with ETIMEDOUT; 0: as long as it takes */
  protected abstract attempt(at: SocketAddress, limitMs: number): Promise<Connection>

  /** Ends the attempt under way, if there is one: it fails, unless it has just succeeded. */
  protected abstract endAttempt(): void

  abstract handOver(one: Waiting<never>): void

  delivered(_one: Waiting<never>): void {}

  reranked(): void {}

  begin(): void {
    if (this.#waiting.begin()) void this.#run()
  }

  /** It rejects at once. What comes of it all the same is closed. */
  abort(one: Waiting<never>, reason: unknown): void {
    this.isAborted = true
    this.endAttempt()
    one.fail(reason)
  }

  async #run(): Promise<void> {
    try {
      const connection = await this.#connect()
      if (this.isAborted) void connection.close()
      else this.#waiting.succeed(connection)
    } catch (error) {
      this.#waiting.fail(error)
    }
  }

  async #connect(): Promise<Connection> {
    const { path } = this.#target
    if (path !== undefined) return this.attempt({ family: 'Unix', path }, 0)
    const { port, host = 'localhost' } = this.#target
    const addresses = await addressesOf(host)
    let first: unknown
    for (const [index, { address, family }] of addresses.entries()) {
      if (this.isAborted) break
      try {
        const at: SocketAddress = { family: family === 4 ? 'IPv4' : 'IPv6', address, port }
        return await this.attempt(at, index < addresses.length - 1 ? attemptMs : 0)
      } catch (error) {
        first ??= error
      }
    }
    throw first
  }
}
