import { constants } from 'node:os'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connection } from '@kiruna/net-socket/connection'
import { ReadInto } from '@kiruna/net-socket/read-into'
import {
  cut,
  giveBack,
  largeBytes,
  type Memory,
  smallBytes,
  takeMemory,
  takeMemoryToWait,
  waited,
} from '@kiruna/net-socket/receive-memory'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker, Rank } from '@kiruna/priority'
import { dispatcher, EAGAIN, type Sender } from './dispatcher.ts'
import type { DispatchSocket } from './half.ts'
import { afterWaiting, here, onQueue } from './native.ts'

const ENOTCONN = -constants.errno.ENOTCONN

/** The most that one send takes. */
const sendBytes = 64 * 1024
/** What is smaller is sent on this thread: another would take longer to wake. */
const hereBytes = 4 * 1024

/**
 * A connection on dispatch sources. A receive waits with a little memory, or, where many do already, without; while there
 * is more than it took, the next ones do not wait. A send begins here, and what is large on a queue:
 *
 *     receive ─► source ─► recv ─► received               while there is more:
 *                queue ─► recv ─► received
 *     sendSoon ─► (end of the tick) sendmsg ─► sent       from a source once the kernel took less than it was given
 *
 * @see recv(2), sendmsg(2)
 */
export class DispatchConnection extends Connection implements Sender {
  readonly #socket: DispatchSocket
  readonly #isTcp: boolean
  #memory: Memory | ReadInto | undefined = undefined
  /** Its priority when it began to wait with memory. */
  #waitedRank: Rank | undefined = undefined
  /** There was more than the last receive took. */
  #hasMore = false
  #receiveBytes = smallBytes
  #askedBytes = 0
  /** The kernel's buffer is. */
  #isFull = false
  #local: SocketAddress | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  #isClosed = false

  /** @param socket connected, its own from now on */
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

  protected receive(): void {
    const rank = this.readRank
    if (this.#hasMore) {
      this.#memory = this.memoryOfReader ?? takeMemory(this.#receiveBytes)
      if (this.#memory instanceof ReadInto) this.#memory.fill()
      this.#socket.receive(rank, this.#memory.bytes, onQueue, this.#took)
      return
    }
    this.#memory = takeMemoryToWait(rank)
    if (this.#memory === undefined) this.#socket.wait(rank, this.#waited)
    else {
      this.#waitedRank = rank
      this.#socket.receive(rank, this.#memory.bytes, afterWaiting, this.#took)
    }
  }

  readonly #waited = (): void => {
    this.#hasMore = true
    this.receive()
  }

  readonly #took = (result: number): void => {
    const memory = this.#memory!
    if (result > 0) {
      this.#waitIsOver()
      this.#hasMore = result === memory.bytes.length
      // A little now and then asks for little, what comes as a stream for much.
      if (this.#hasMore) this.#receiveBytes = largeBytes
      else if (result <= smallBytes) this.#receiveBytes = smallBytes
      if (memory instanceof ReadInto) this.receivedBy(memory, memory.filled(result))
      else this.received(cut(memory, result))
      return
    }
    this.#giveBack()
    this.#hasMore = false
    if (result === 0) this.receivedEnd()
    else if (result === EAGAIN) this.receiveCancelled()
    else this.receiveFailed(socketError(result, 'read'))
  }

  #waitIsOver(): void {
    if (this.#waitedRank !== undefined) waited(this.#waitedRank)
    this.#memory = this.#waitedRank = undefined
  }

  #giveBack(): void {
    if (this.#memory instanceof ReadInto) this.#memory.filled(0)
    else if (this.#memory !== undefined) giveBack(this.#memory)
    this.#waitIsOver()
  }

  /** What it takes that is too late to be cancelled is for the next reader. */
  protected cancelReceive(): void {
    if (!this.#socket.cancelRead()) return
    this.#giveBack()
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

  /** @internal the dispatcher's */
  send(): void {
    const buffers = this.takeToSend(sendBytes)
    if (buffers.length === 0) return
    this.#askedBytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const how = this.#isFull ? afterWaiting : this.#askedBytes <= hereBytes ? here : onQueue
    const result = this.#socket.send(this.writeRank, buffers, how, this.#sendDone)
    if (result !== undefined) this.#sendDone(result)
  }

  readonly #sendDone = (result: number): void => {
    this.#isFull = result === EAGAIN || (result >= 0 && result < this.#askedBytes)
    if (result >= 0) this.sent(result)
    else if (result === EAGAIN) this.sent(0)
    else this.sendFailed(socketError(result, 'write'))
  }

  protected cancelSend(): void {
    if (dispatcher().dontSend(this)) this.sendCancelled()
    else if (this.#socket.cancelWrite()) this.sent(0)
  }

  protected writeRankChanged(): void {
    this.#socket.setWriteRank(this.writeRank)
  }

  protected shutdown(): void {
    const result = this.#socket.shutdown()
    // The peer has gone already: it needs not be told.
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

  delivered(): void {}
}
