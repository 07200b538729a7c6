import { constants } from 'node:os'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connection } from '@kiruna/net-socket/connection'
import {
  largeBytes,
  type Memory,
  smallBytes,
  takeMemoryToWait,
  waitEnded,
} from '@kiruna/net-socket/receive-memory'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker, Rank } from '@kiruna/priority'
import type { DispatchSocket } from './dispatch-socket.ts'
import { dispatcher, EAGAIN, type Sender } from './dispatcher.ts'
import { afterWaiting, here, onQueue } from './native.ts'

const ENOTCONN = -constants.errno.ENOTCONN

/** The most that one send takes. */
const sendBytes = 64 * 1024
/** Up to this, a send is made on this thread: another would take longer to wake. */
const hereBytes = 4 * 1024

/**
 * A connection on dispatch sources. A receive waits with a little memory or, if many wait already, without; while there
 * is more than it took, the next ones do not wait. A small send is made on this thread, a large one on a queue:
 *
 *     startReceive ─► source ─► recv ─► received          while there is more:
 *                     queue ─► recv ─► received
 *     sendSoon ─► (end of the tick) sendmsg ─► sent       from a source once the kernel took less than it was given
 *
 * @see recv(2), sendmsg(2)
 */
export class DispatchConnection extends Connection implements Sender {
  readonly #socket: DispatchSocket
  readonly #isTcp: boolean
  #memory: Memory | undefined = undefined
  /** Its priority when it began to wait with memory. */
  #waitedRank: Rank | undefined = undefined
  /** There was more than the last receive took. */
  #hasMore = false
  #receiveBytes = smallBytes
  #askedBytes = 0
  /** The kernel's buffer is full. */
  #isFull = false
  #local: SocketAddress | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  #isClosed = false

  /** @param socket connected; this connection owns it from now on */
  constructor(socket: DispatchSocket, isTcp: boolean, caller: Asker) {
    super(caller)
    this.#socket = socket
    this.#isTcp = isTcp
    if (isTcp) socket.set('noDelay', true)
  }

  get localAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#local ??= this.#socket.name(false)
    return this.#local
  }

  get remoteAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#remote ??= this.#socket.name(true)
    return this.#remote
  }

  protected startReceive(): void {
    const rank = this.readRank
    if (this.#hasMore) {
      this.#memory = this.takeReaderMemory(this.#receiveBytes)
      this.#socket.receive(rank, this.#memory.bytes, onQueue, this.#onReceived)
      return
    }
    this.#memory = takeMemoryToWait(rank)
    if (this.#memory === undefined) this.#socket.wait(rank, this.#onReadable)
    else {
      this.#waitedRank = rank
      this.#socket.receive(rank, this.#memory.bytes, afterWaiting, this.#onReceived)
    }
  }

  readonly #onReadable = (): void => {
    this.#hasMore = true
    this.startReceive()
  }

  readonly #onReceived = (result: number): void => {
    const memory = this.#memory!
    if (result > 0) {
      this.#endWait()
      this.#hasMore = result === memory.bytes.length
      // Little now and then: the next receive asks for little. A steady flow: it asks for much.
      if (this.#hasMore) this.#receiveBytes = largeBytes
      else if (result <= smallBytes) this.#receiveBytes = smallBytes
      this.receivedInto(memory, result)
      return
    }
    this.#giveBackMemory()
    this.#hasMore = false
    if (result === 0) this.receivedEnd()
    else if (result === EAGAIN) this.receiveCancelled()
    else this.receiveFailed(socketError(result, 'read'))
  }

  #endWait(): void {
    if (this.#waitedRank !== undefined) waitEnded(this.#waitedRank)
    this.#memory = this.#waitedRank = undefined
  }

  #giveBackMemory(): void {
    if (this.#memory !== undefined) this.giveBackUnused(this.#memory)
    this.#endWait()
  }

  /** If it is too late to cancel, the bytes are for the next reader. */
  protected cancelReceive(): void {
    if (!this.#socket.cancelRead()) return
    this.#giveBackMemory()
    this.receiveCancelled()
  }

  protected readRankChanged(): void {
    this.#socket.setReadRank(this.readRank)
  }

  protected sendSoon(): void {
    dispatcher().sendSoon(this)
  }

  /** @internal */
  get sendRank(): Rank {
    return this.writeRank
  }

  /** @internal called by the dispatcher */
  send(): void {
    const buffers = this.takeToSend(sendBytes)
    if (buffers.length === 0) return
    this.#askedBytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const how = this.#isFull ? afterWaiting : this.#askedBytes <= hereBytes ? here : onQueue
    const result = this.#socket.send(this.writeRank, buffers, how, this.#onSent)
    if (result !== undefined) this.#onSent(result)
  }

  readonly #onSent = (result: number): void => {
    this.#isFull = result === EAGAIN || (result >= 0 && result < this.#askedBytes)
    if (result >= 0) this.sent(result)
    else if (result === EAGAIN) this.sent(0)
    else this.sendFailed(socketError(result, 'write'))
  }

  protected cancelSend(): void {
    if (dispatcher().cancelSend(this)) this.sendCancelled()
    else if (this.#socket.cancelWrite()) this.sent(0)
  }

  protected writeRankChanged(): void {
    this.#socket.setWriteRank(this.writeRank)
  }

  protected shutdown(): void {
    const result = this.#socket.shutdown()
    // ENOTCONN: the peer is gone; nothing to notify.
    this.shutDown(result < 0 && result !== ENOTCONN ? socketError(result, 'shutdown') : undefined)
  }

  protected closeSocket(): Promise<void> {
    this.#isClosed = true
    return this.#socket.close()
  }

  protected setNoDelay(on: boolean): void {
    if (this.#isTcp && !this.#isClosed) this.#socket.set('noDelay', on)
  }

  protected setKeepAlive(on: boolean, delayMs: number): void {
    if (!this.#isTcp || this.#isClosed) return
    this.#socket.set('keepAlive', on)
    const seconds = Math.floor(delayMs / 1000)
    if (on && seconds > 0) this.#socket.set('keepAliveSeconds', seconds)
  }

  protected setRef(isRef: boolean): void {
    this.#socket.read.setRef(isRef)
    this.#socket.write.setRef(isRef)
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }
}
