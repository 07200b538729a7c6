import type { InternetAddress, SocketAddress } from '@kiruna/net-socket/address'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Rank } from '@kiruna/priority'
import { dispatcher, type Source } from './dispatcher.ts'
import { type Begun, type How, type Native, option, readDirection, writeDirection } from './native.ts'

/** Takes the result of a call: what the system call returns, or a negative errno. */
type Complete = (result: number) => void

/** One direction of a socket: the call under way, and what it needs until it is done. */
class Half {
  complete: Complete | undefined = undefined
  rank: Rank = 3
  /** Held for the kernel. */
  memory: Uint8Array | Uint8Array[] | undefined = undefined
  #isRef = true
  #keepsAlive = false

  get isUnderWay(): boolean {
    return this.complete !== undefined
  }

  /** Does nothing if the call has returned its result. */
  begin(begun: Begun, rank: Rank, complete: Complete, memory?: Uint8Array | Uint8Array[]): void {
    if (begun !== undefined) return
    this.rank = rank
    this.complete = complete
    this.memory = memory
    this.#keepAlive()
  }

  end(): Complete {
    const { complete } = this
    this.complete = this.memory = undefined
    this.#keepAlive()
    return complete!
  }

  /** Whether the call under way keeps the process alive. */
  setRef(isRef: boolean): void {
    this.#isRef = isRef
    this.#keepAlive()
  }

  #keepAlive(): void {
    const keepsAlive = this.#isRef && this.isUnderWay
    if (keepsAlive === this.#keepsAlive) return
    this.#keepsAlive = keepsAlive
    dispatcher().keepAlive(keepsAlive ? 1 : -1)
  }
}

/**
 * A socket on GCD. A call returns its result if it has one at once. Otherwise `complete` takes it, and only then may
 * another call follow in that direction.
 */
export class DispatchSocket implements Source {
  readonly id: number
  readonly read = new Half()
  readonly write = new Half()
  readonly #native: Native = dispatcher().native
  #closed: (() => void) | undefined = undefined

  /** @param id the socket's number in the addon */
  constructor(id: number) {
    this.id = id
    dispatcher().add(this)
  }

  /** @throws EMFILE, EAFNOSUPPORT … (`err.code`). @see socket(2) */
  static open(at: SocketAddress, isDatagram: boolean, syscall: string): DispatchSocket {
    const id = dispatcher().native.socket(at.family, isDatagram)
    if (id < 0) throw socketError(id, syscall, at)
    return new DispatchSocket(id)
  }

  /** Waits until there is something to read. */
  wait(rank: Rank, complete: Complete): void {
    this.#beginRead(this.#native.wait(this.id, rank), rank, complete)
  }

  /** @see recv(2) */
  receive(rank: Rank, memory: Uint8Array, how: How, complete: Complete): void {
    this.#beginRead(this.#native.receive(this.id, rank, memory, how), rank, complete, memory)
  }

  /** Receives one datagram. @see recvmsg(2) */
  receiveFrom(rank: Rank, memory: Uint8Array, complete: Complete): void {
    this.#beginRead(this.#native.receiveFrom(this.id, rank, memory), rank, complete, memory)
  }

  /** @returns the result; undefined: it follows. @see sendmsg(2) */
  send(rank: Rank, buffers: Uint8Array[], how: How, complete: Complete): Begun {
    const begun = this.#native.send(this.id, rank, buffers, how)
    this.write.begin(begun, rank, complete, buffers)
    return begun
  }

  /** @returns as `send`. @see sendmsg(2) */
  sendTo(rank: Rank, bytes: Uint8Array, to: InternetAddress, complete: Complete): Begun {
    const begun = this.#native.sendTo(this.id, rank, bytes, to.family, to.address, to.port)
    this.write.begin(begun, rank, complete, bytes)
    return begun
  }

  /** @returns as `send`. @see connect(2) */
  connect(rank: Rank, to: SocketAddress, complete: Complete): Begun {
    const begun = this.#native.connect(this.id, rank, to.family, ...addressAndPort(to))
    this.write.begin(begun, rank, complete)
    return begun
  }

  /** @see accept(2) */
  accept(rank: Rank, complete: (result: number, accepted: DispatchSocket[]) => void): void {
    const take = (result: number) => {
      const ids = result > 0 ? this.#native.accepted(this.id) : []
      complete(
        result,
        ids.map(id => new DispatchSocket(id)),
      )
    }
    this.#beginRead(this.#native.accept(this.id, rank), rank, take)
  }

  get readRank(): Rank {
    return this.read.rank
  }

  /** Returns whether it was cancelled. If not, the result follows, or nothing was under way. */
  cancelRead(): boolean {
    const isCancelled = this.#cancel(this.read, readDirection)
    if (isCancelled) dispatcher().readEnded(this)
    return isCancelled
  }

  cancelWrite(): boolean {
    return this.#cancel(this.write, writeDirection)
  }

  /** Changes the rank of the call under way. */
  setReadRank(rank: Rank): void {
    if (!this.read.isUnderWay || this.read.rank === rank) return
    dispatcher().readEnded(this)
    this.read.rank = rank
    dispatcher().readBegun(this)
    this.#native.setRank(this.id, readDirection, rank)
  }

  setWriteRank(rank: Rank): void {
    if (!this.write.isUnderWay || this.write.rank === rank) return
    this.write.rank = rank
    this.#native.setRank(this.id, writeDirection, rank)
  }

  hurry(): void {
    this.#native.hurry(this.id)
  }

  /** @throws EADDRINUSE, EACCES … (`err.code`). @see bind(2) */
  bind(at: SocketAddress, syscall: string): void {
    const result = this.#native.bind(this.id, at.family, ...addressAndPort(at))
    if (result < 0) throw socketError(result, syscall, at)
  }

  /** @throws EADDRINUSE … (`err.code`). @see listen(2) */
  listen(backlog: number, at: SocketAddress): void {
    const result = this.#native.listen(this.id, backlog)
    if (result < 0) throw socketError(result, 'listen', at)
  }

  /** @returns 0, or a negative errno. @see shutdown(2) */
  shutdown(): number {
    return this.#native.shutdown(this.id)
  }

  /** @returns undefined: it is not connected any more. @see getsockname(2) */
  name(isPeer: boolean): SocketAddress | undefined {
    return this.#native.name(this.id, isPeer)
  }

  /** The sender of the last datagram. */
  sender(): InternetAddress {
    return this.#native.sender(this.id) as InternetAddress
  }

  /** @returns 0, or a negative errno. @see setsockopt(2) */
  set(name: keyof typeof option, value: number | boolean): number {
    return this.#native.setsockopt(this.id, option[name], Number(value))
  }

  /** To be called when nothing is under way. @see close(2) */
  close(): Promise<void> {
    dispatcher().keepAlive(1)
    this.#native.close(this.id)
    return new Promise(resolve => (this.#closed = resolve))
  }

  /** @internal called by the dispatcher */
  complete(direction: number, result: number): void {
    if (direction === readDirection) {
      dispatcher().readEnded(this)
      this.read.end()(result)
    } else if (direction === writeDirection) this.write.end()(result)
    else {
      dispatcher().keepAlive(-1)
      this.#closed!()
    }
  }

  #beginRead(begun: Begun, rank: Rank, complete: Complete, memory?: Uint8Array): void {
    this.read.begin(begun, rank, complete, memory)
    dispatcher().readBegun(this)
  }

  #cancel(half: Half, direction: number): boolean {
    if (!half.isUnderWay || !this.#native.cancel(this.id, direction)) return false
    half.end()
    return true
  }
}

function addressAndPort(at: SocketAddress): [address: string, port: number] {
  return at.family === 'Unix' ? [at.path, 0] : [at.address, at.port]
}
