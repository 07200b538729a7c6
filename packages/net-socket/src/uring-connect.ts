import { constants } from 'node:os'
import { ring } from '@kiruna/linux-uring/uring'
import { type Asker, type Rank, rankOf } from '@kiruna/priority'
import { addressesOf, type Checked, type SocketAddress } from './address.ts'
import { familyOf, sockaddrOf } from './sockaddr.ts'
import { socketError } from './socket-error.ts'
import { Call, call } from './uring-call.ts'
import { UringConnection } from './uring-connection.ts'
import { type Owner, Waiting } from './waiting.ts'

// linux/net.h, netinet/tcp.h
const SOCK_STREAM = 1
const IPPROTO_TCP = 6
const TCP_NODELAY = 1
const ETIMEDOUT = -constants.errno.ETIMEDOUT

/** An address that does not answer has so long while there are others, as in node:net. */
const attemptMs = 250

/** socket, connect: one attempt for each address of the host, until one succeeds. */
export class Connecting implements Owner {
  readonly asker: Asker
  readonly #target: Checked
  readonly #waiting: Waiting<UringConnection>
  #attempt: Call | undefined = undefined
  #isAborted = false

  constructor(
    target: Checked,
    asker: Asker,
    resolve: (connection: UringConnection) => void,
    reject: (reason: unknown) => void,
  ) {
    this.asker = asker
    this.#target = target
    this.#waiting = new Waiting(this, asker, resolve, reject)
    if (this.#waiting.begin()) void this.#run()
  }

  async #run(): Promise<void> {
    try {
      const fd = await this.#connect()
      const connection = new UringConnection(fd, this.#target.path === undefined, this.asker)
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

  /** @param limitMs 0: as long as it takes. @returns the fd of a connected socket */
  async #try(at: SocketAddress, limitMs = 0): Promise<number> {
    const { rank } = this
    if (this.#isAborted) throw undefined
    const fd = await call(done => ring().socket(familyOf(at), SOCK_STREAM, done, rank), 'connect', at)
    let isLate = false
    let timer: NodeJS.Timeout | undefined
    try {
      const sockaddr = sockaddrOf(at) // held until the kernel has read it
      this.#attempt = new Call(done => ring().connect(fd, sockaddr, done, rank))
      if (this.#isAborted) this.#attempt.cancel()
      if (limitMs > 0) {
        timer = setTimeout(() => {
          isLate = true
          this.#attempt!.cancel()
        }, limitMs)
      }
      const result = await this.#attempt.result
      if (result < 0) throw socketError(isLate ? ETIMEDOUT : result, 'connect', at)
      if (at.family !== 'Unix') {
        // Before any write: a submission behind this one.
        ring().setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1, { slot: -1, complete: () => {} }, rank)
      }
      return fd
    } catch (error) {
      ring().close(fd)
      throw error
    } finally {
      clearTimeout(timer)
      this.#attempt = undefined
    }
  }

  get rank(): Rank {
    return rankOf(this.asker.priority)
  }

  /** It rejects at once. What the kernel makes of it all the same is closed. */
  abort(one: Waiting<never>, reason: unknown): void {
    this.#isAborted = true
    this.#attempt?.cancel()
    one.fail(reason)
  }

  reranked(): void {}

  handOver(one: Waiting<never>): void {
    ring().handOver(one)
  }

  delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) ring().delivered(one.deliveredRank)
  }
}
