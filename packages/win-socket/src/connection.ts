import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connection } from '@kiruna/net-socket/connection'
import type { Transfer } from '@kiruna/net-socket/ready-lane'
import { largeBytes } from '@kiruna/net-socket/receive-memory'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker, Rank } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import type { Link } from '@kiruna/priority/linked-list'
import { type Completion, type Port, port } from '@kiruna/win-iocp/iocp'
import { IPPROTO_TCP, nameOf, SOL_SOCKET, TCP_NODELAY } from './address.ts'
import { socketLane } from './ready-lane.ts'

// winsock2.h, ws2ipdef.h
const SO_KEEPALIVE = 8
const TCP_KEEPIDLE = 3
const EAGAIN = errnoOf('EAGAIN')
const ECANCELED = errnoOf('ECANCELED')
const ECONNABORTED = errnoOf('ECONNABORTED')
const ECONNRESET = errnoOf('ECONNRESET')
const ENOTCONN = errnoOf('ENOTCONN')

/** The most that one send takes, as for receives, so that others get their turn. */
const sendBytes = 64 * 1024

/**
 * A connection on the completion port. A read waits for the peer in an overlapped call without memory. Ready transfers
 * go through the lane, and are calls that complete at once:
 *
 *     startReceive ─► WSARecv of no bytes ─► lane ─► recv ─► received   while there is more, straight to the lane
 *     sendSoon ─► lane ─► WSASend ─► sent                               once that took less than it was given:
 *                 WSASend of one byte ─► sent
 *
 * @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsarecv
 */
export class IocpConnection extends Connection {
  readonly #port: Port = port()
  readonly #lane = socketLane()
  readonly #socket: number
  readonly #isTcp: boolean
  readonly #receiving = new Receiving(this)
  readonly #sending = new Sending(this)
  /** There was more than the last receive took, or there was something and no reader. */
  #hasMore = false
  /** The system's buffer was full, and no completion has said otherwise. */
  #isFull = false
  /** The byte of the overlapped send has been counted as sent. */
  #isCounted = false
  #local: SocketAddress | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  #isClosing = false
  #isClosed = false
  #isRef = true
  #onQuiet: (() => void) | undefined = undefined

  /** @param socket connected; this connection owns it from now on */
  constructor(socket: number, isTcp: boolean, caller: Asker) {
    super(caller)
    this.#socket = socket
    this.#isTcp = isTcp
    this.setNoDelay(true)
  }

  get localAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#local ??= nameOf(this.#socket, false)
    return this.#local
  }

  get remoteAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#remote ??= nameOf(this.#socket, true)
    return this.#remote
  }

  protected startReceive(): void {
    if (this.#hasMore) this.#lane.enter(this.#receiving)
    else this.#waitToReceive()
  }

  #waitToReceive(): void {
    const receiving = this.#receiving
    this.#port.setRef(receiving, this.#isRef && this.hasReaders)
    const { native } = this.#port
    native.waitToReceive(this.#port.begin(receiving), this.readRank, this.#socket)
  }

  /** @internal */
  mayReceive(result: number): void {
    if (result < 0 && result !== ECANCELED) {
      this.receiveFailed(errorOf(result, 'read'))
    } else if (this.hasReaders) {
      this.#lane.enter(this.#receiving)
    } else {
      this.#hasMore = result !== ECANCELED
      this.receiveCancelled()
    }
  }

  /** @internal there was no memory for it */
  receiveRefused(error: unknown): void {
    this.receiveNotStarted(error)
  }

  /** @internal there was no memory for it */
  sendRefused(error: unknown): void {
    this.sendFailed(error)
  }

  /** @internal */
  receiveNow(): number {
    const memory = this.takeReaderMemory(largeBytes)
    const { length } = memory.bytes
    const result = this.#port.native.receive(this.#socket, memory.bytes)
    this.#hasMore = result === length
    if (result > 0) {
      this.receivedInto(memory, result)
      return result
    }
    this.giveBackUnused(memory)
    if (result === 0) this.receivedEnd()
    else if (result === EAGAIN) this.#waitToReceive()
    else this.receiveFailed(errorOf(result, 'read'))
    return 0
  }

  protected cancelReceive(isClosing: boolean): void {
    if (this.#lane.leave(this.#receiving)) {
      this.#hasMore = true
      this.receiveCancelled()
    } else if (isClosing) this.#port.cancel(this.#receiving)
    else this.#port.setRef(this.#receiving, false) // it goes on waiting, for the next reader
  }

  protected readRankChanged(): void {
    this.#port.setRef(this.#receiving, this.#isRef)
    this.#lane.rankChanged(this.#receiving)
  }

  protected sendSoon(): void {
    if (!this.#isFull) this.#lane.enter(this.#sending)
    else if (this.#sending.slot === -1) this.#waitToSend()
  }

  #waitToSend(): void {
    const [first] = this.takeToSend(1)
    if (first === undefined) return
    const sending = this.#sending
    this.#port.setRef(sending, this.#isRef)
    const { native } = this.#port
    native.waitToSend(this.#port.begin(sending), this.writeRank, this.#socket, first[0]!)
  }

  /** @internal */
  maySend(result: number): void {
    const sentBytes = this.#isCounted ? 0 : 1
    this.#isFull = this.#isCounted = false
    if (this.isWriteIdle) this.#onQuiet?.()
    else if (result >= 0) this.sent(sentBytes)
    else if (result === ECANCELED) this.sent(0)
    else this.sendFailed(errorOf(result, 'write'))
  }

  /** @internal */
  sendNow(): number {
    const buffers = this.takeToSend(sendBytes)
    if (buffers.length === 0) return 0
    const result = this.#port.native.send(this.#socket, buffers)
    if (result < 0 && result !== EAGAIN) {
      this.sendFailed(errorOf(result, 'write'))
      return 0
    }
    const sentBytes = Math.max(result, 0)
    this.#isFull = sentBytes < buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    this.sent(sentBytes)
    return sentBytes
  }

  /** The byte of the overlapped send is not cancelled: it counts as sent. */
  protected cancelSend(): void {
    if (this.#lane.leave(this.#sending)) this.sendCancelled()
    else if (this.#isClosing) this.#port.cancel(this.#sending)
    else if (this.#isCounted) this.sendCancelled()
    else {
      this.#isCounted = true
      this.#port.setRef(this.#sending, false)
      this.sent(1)
    }
  }

  protected writeRankChanged(): void {
    this.#lane.rankChanged(this.#sending)
  }

  protected shutdown(): void {
    const result = this.#port.native.shutdownSocket(this.#socket)
    // ENOTCONN: the peer is gone; nothing to notify.
    this.shutDown(result < 0 && result !== ENOTCONN ? socketError(result, 'shutdown') : undefined)
  }

  override close(): Promise<void> {
    this.#isClosing = true
    return super.close()
  }

  protected async closeSocket(): Promise<void> {
    if (this.#sending.slot !== -1) {
      this.#port.cancel(this.#sending)
      await new Promise<void>(resolve => (this.#onQuiet = resolve))
    }
    this.#isClosed = true
    this.#port.native.closeSocket(this.#socket)
  }

  protected setNoDelay(on: boolean): void {
    if (this.#isTcp) this.#setOption(IPPROTO_TCP, TCP_NODELAY, Number(on))
  }

  protected setKeepAlive(on: boolean, delayMs: number): void {
    if (!this.#isTcp) return
    this.#setOption(SOL_SOCKET, SO_KEEPALIVE, Number(on))
    const seconds = Math.floor(delayMs / 1000)
    if (on && seconds > 0) this.#setOption(IPPROTO_TCP, TCP_KEEPIDLE, seconds)
  }

  /** A failure is ignored, as in node:net. */
  #setOption(level: number, name: number, value: number): void {
    if (!this.#isClosed) this.#port.native.setOption(this.#socket, level, name, value)
  }

  protected setRef(isRef: boolean): void {
    this.#isRef = isRef
    this.#port.setRef(this.#receiving, isRef && this.hasReaders)
    this.#port.setRef(this.#sending, isRef)
  }

  /** @internal */
  get receiveRank(): Rank {
    return this.readRank
  }

  /** @internal */
  get sendRank(): Rank {
    return this.writeRank
  }

  handOver(one: Waiting<never>): void {
    this.#port.handOver(one)
  }
}

/** A connection that was aborted is ECONNRESET, as in libuv. */
function errorOf(result: number, syscall: string): Error {
  return socketError(result === ECONNABORTED ? ECONNRESET : result, syscall)
}

/** The receive of a connection, for the port and the lane. */
class Receiving implements Completion, Transfer {
  slot = -1
  isUnref = false
  place: Link<Transfer> | undefined = undefined
  readonly #connection: IocpConnection

  constructor(connection: IocpConnection) {
    this.#connection = connection
  }

  get rank(): Rank {
    return this.#connection.receiveRank
  }

  complete(result: number): void {
    this.#connection.mayReceive(result)
  }

  transfer(): number {
    return this.#connection.receiveNow()
  }

  notStarted(error: unknown): void {
    this.#connection.receiveRefused(error)
  }
}

/** The send of a connection, for the port and the lane. */
class Sending implements Completion, Transfer {
  slot = -1
  isUnref = false
  place: Link<Transfer> | undefined = undefined
  readonly #connection: IocpConnection

  constructor(connection: IocpConnection) {
    this.#connection = connection
  }

  get rank(): Rank {
    return this.#connection.sendRank
  }

  complete(result: number): void {
    this.#connection.maySend(result)
  }

  transfer(): number {
    return this.#connection.sendNow()
  }

  notStarted(error: unknown): void {
    this.#connection.sendRefused(error)
  }
}
