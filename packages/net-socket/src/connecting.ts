import type { Asker } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'
import { addressesOf, type SocketAddress } from './address.ts'
import type { CheckedTarget } from './arguments.ts'
import type { Connection } from './connection.ts'
import { socketError } from './socket-error.ts'
import { type Owner, Waiting } from './waiting.ts'

const ETIMEDOUT = errnoOf('ETIMEDOUT')

/** As node:net's, with a message. */
function aggregate(errors: NodeJS.ErrnoException[]): AggregateError {
  const { code, errno, syscall } = errors[0]!
  const error = new AggregateError(errors, errors.map(({ message }) => message).join('; '))
  return Object.assign(error, { code, errno, syscall })
}

/** How long an address may take to answer while there are others, as in node:net. */
const attemptMs = 250

/** Tries each address of the host, until one succeeds. A subclass makes the system calls of an attempt. */
export abstract class Connecting implements Owner {
  readonly asker: Asker
  readonly #target: CheckedTarget
  readonly #waiting: Waiting<Connection>
  #isAborted = false
  #isLate = false

  constructor(
    target: CheckedTarget,
    resolve: (connection: Connection) => void,
    reject: (reason: unknown) => void,
  ) {
    this.asker = target.asker
    this.#target = target
    this.#waiting = new Waiting(this, target.asker, resolve, reject)
  }

  /** Opens a socket and connects it. If `mustEnd` is true once connecting has begun, it calls `endAttempt`. */
  protected abstract attempt(at: SocketAddress): Promise<Connection>

  /** Cancels the attempt under way, if there is one: it fails, unless it has just succeeded. */
  protected abstract endAttempt(): void

  protected get mustEnd(): boolean {
    return this.#isAborted || this.#isLate
  }

  abstract handOver(one: Waiting<never>): void

  delivered(_one: Waiting<never>): void {}

  rankChanged(): void {}

  begin(): Waiting<Connection> {
    if (this.#waiting.begin()) void this.#run()
    return this.#waiting
  }

  /** Rejects at once. A connection that succeeds all the same is closed. */
  abort(one: Waiting<never>, reason: unknown): void {
    this.#isAborted = true
    this.endAttempt()
    one.fail(reason)
  }

  async #run(): Promise<void> {
    try {
      const connection = await this.#connect()
      if (this.#isAborted) void connection.close()
      else this.#waiting.succeed(connection)
    } catch (error) {
      this.#waiting.fail(error)
    }
  }

  async #connect(): Promise<Connection> {
    const { path } = this.#target
    if (path !== undefined) return this.attempt({ family: 'Unix', path })
    const { port, host = 'localhost' } = this.#target
    const addresses = await addressesOf(host, port, this.asker)
    const errors: NodeJS.ErrnoException[] = []
    for (const [index, at] of addresses.entries()) {
      if (this.#isAborted) break
      try {
        return await (index < addresses.length - 1 ? this.#attemptInTime(at) : this.attempt(at))
      } catch (error) {
        errors.push(error as NodeJS.ErrnoException)
      }
    }
    throw errors.length > 1 ? aggregate(errors) : errors[0]
  }

  async #attemptInTime(at: SocketAddress): Promise<Connection> {
    const timer = setTimeout(() => {
      this.#isLate = true
      this.endAttempt()
    }, attemptMs)
    try {
      return await this.attempt(at)
    } catch (error) {
      throw this.#isLate ? socketError(ETIMEDOUT, 'connect', at) : error
    } finally {
      clearTimeout(timer)
      this.#isLate = false
    }
  }
}
