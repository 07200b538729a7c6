import { constants } from 'node:os'
import { type Ring, ring } from '@kiruna/linux-uring/ring'
import { prepRecv, prepSend, prepSendmsg, prepShutdown } from '@kiruna/linux-uring/socket-sqe'
import { type Completion, EAGAIN, EINTR, IORING_CQE_F_SOCK_NONEMPTY, prepPoll } from '@kiruna/linux-uring/sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connection } from '@kiruna/net-socket/connection'
import type { Transfer } from '@kiruna/net-socket/ready-lane'
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
import type { Link } from '@kiruna/priority/linked-list'
import { closeSocket, getsockname, IPPROTO_TCP, SOL_SOCKET, setsockopt, TCP_NODELAY } from './calls.ts'
import { Gather } from './msghdr.ts'
import { SocketLane } from './ready-lane.ts'

// linux/socket.h, netinet/tcp.h, poll(2)
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const TCP_KEEPIDLE = 4
const SO_KEEPALIVE = 9
const SHUT_WR = 1
const POLLIN = 1
const POLLOUT = 4
const ECANCELED = -constants.errno.ECANCELED
const ENOTCONN = -constants.errno.ENOTCONN

/** The most that one send takes, as for reads, so that others get their turn. */
const sendBytes = 64 * 1024

let lane: SocketLane | undefined

/**
 * A connection on the ring. A read waits for the peer in a RECV with a little memory or, if many wait already, in a
 * POLL_ADD. Ready transfers go through the lane, and complete within the enter that submits them:
 *
 *     startReceive ─► RECV ─► received                        one ahead of the reader; while there is more:
 *                     lane ─► RECV, MSG_DONTWAIT ─► received
 *     sendSoon ─► lane ─► SEND, SENDMSG ─► sent               from a POLL_ADD once the kernel took less than it was given
 *
 * @see io_uring_prep_recv(3), io_uring_prep_sendmsg(3)
 */
export class UringConnection extends Connection {
  readonly #ring: Ring = ring()
  readonly #lane: SocketLane = (lane ??= new SocketLane(this.#ring))
  readonly #fd: number
  readonly #isTcp: boolean
  readonly #receiving = new Receiving(this)
  #sending: Sending | undefined = undefined
  #local: SocketAddress | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  #isClosed = false
  #isRef = true

  /** @param fd of a connected stream socket; this connection owns it from now on */
  constructor(fd: number, isTcp: boolean, caller: Asker) {
    super(caller)
    this.#fd = fd
    this.#isTcp = isTcp
  }

  get localAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#local ??= getsockname(this.#fd, false)
    return this.#local
  }

  get remoteAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#remote ??= getsockname(this.#fd, true)
    return this.#remote
  }

  protected startReceive(): void {
    const receiving = this.#receiving
    this.#ring.setRef(receiving, this.#isRef && this.hasReaders)
    if (receiving.hasMore) this.#enterLane(receiving)
    else this.#wait(receiving)
  }

  #enterLane(receiving: Receiving): void {
    receiving.step = 'lane'
    this.#lane.enter(receiving)
  }

  #wait(receiving: Receiving): void {
    const rank = this.readRank
    const memory = takeMemoryToWait(rank)
    if (memory === undefined) {
      receiving.step = 'poll'
      prepPoll(this.#ring, this.#ring.sqe(this.#fd, receiving), POLLIN)
      this.#ring.submitSoon(rank)
    } else {
      receiving.step = 'wait'
      receiving.memory = memory
      receiving.waitingRank = rank
      receiving.askedBytes = memory.bytes.length
      try {
        const address = (memory.address ||= this.#ring.addressOf(memory.bytes))
        prepRecv(this.#ring, this.#ring.sqe(this.#fd, receiving), address, memory.bytes.length, 0, true)
        this.#ring.submitWithTurn(rank)
      } catch (error) {
        waitEnded(rank)
        this.receiveRefused(receiving, error)
      }
    }
  }

  /** @internal it is the receive's turn in the lane */
  receiveNow(receiving: Receiving): number {
    const memory = (receiving.memory = this.takeReaderMemory(receiving.bytes))
    receiving.step = 'take'
    const { bytes } = memory
    const address = (memory.address ||= this.#ring.addressOf(bytes))
    receiving.askedBytes = bytes.length
    prepRecv(this.#ring, this.#ring.sqe(this.#fd, receiving), address, bytes.length, MSG_DONTWAIT, false)
    this.#ring.submitWithTurn(this.readRank)
    return bytes.length
  }

  /** @internal there was no memory for it */
  receiveRefused(receiving: Receiving, error: unknown): void {
    const { memory } = receiving
    receiving.memory = undefined
    if (memory !== undefined) this.giveBackUnused(memory)
    this.receiveNotStarted(error)
  }

  /** @internal */
  sendRefused(error: unknown): void {
    this.sendFailed(error)
  }

  /** @internal */
  receiveCompleted(receiving: Receiving, result: number, flags: number): void {
    if (receiving.step === 'poll') this.#polledIn(receiving)
    else {
      if (receiving.step === 'take') this.#lane.done(receiving.askedBytes)
      else waitEnded(receiving.waitingRank)
      this.#received(receiving, result, flags)
    }
  }

  #polledIn(receiving: Receiving): void {
    if (receiving.isCancelled) {
      receiving.isCancelled = false
      this.receiveCancelled()
    } else this.#enterLane(receiving)
  }

  #received(receiving: Receiving, result: number, flags: number): void {
    const memory = receiving.memory!
    receiving.memory = undefined
    receiving.isCancelled = false
    if (result > 0) {
      const isFull = result === receiving.askedBytes
      receiving.hasMore = isFull || (flags & IORING_CQE_F_SOCK_NONEMPTY) !== 0
      // Little now and then: the next receive asks for little. A steady flow: it asks for much.
      if (isFull) receiving.bytes = largeBytes
      else if (result <= smallBytes) receiving.bytes = smallBytes
      this.receivedInto(memory, result)
      return
    }
    this.giveBackUnused(memory)
    receiving.hasMore = false
    if (result === 0) this.receivedEnd()
    else if (result === EAGAIN || result === EINTR || result === ECANCELED) this.receiveCancelled()
    else this.receiveFailed(socketError(result, 'read'))
  }

  protected cancelReceive(isClosing: boolean): void {
    const receiving = this.#receiving
    if (receiving.step === 'lane') {
      this.#lane.leave(receiving)
      this.receiveCancelled()
    } else if (receiving.step === 'poll' || (receiving.step === 'wait' && isClosing)) {
      receiving.isCancelled = true
      this.#ring.cancel(receiving)
    } else this.#ring.setRef(receiving, false) // it goes on, for the next reader
  }

  protected readRankChanged(): void {
    this.#ring.setRef(this.#receiving, this.#isRef)
    this.#lane.rankChanged(this.#receiving)
  }

  /** @internal called by the lane after the reader's turn: the receive is submitted with what the reader has staged */
  receiveAheadNow(): void {
    if (!this.#receiving.hasMore) this.receiveAhead()
  }

  protected sendSoon(): void {
    if (this.#sending === undefined) {
      this.#sending = new Sending(this)
      this.#ring.setRef(this.#sending, this.#isRef)
    }
    const sending = this.#sending
    if (!sending.isFull) {
      this.#lane.enter(sending)
      return
    }
    sending.isPolling = true
    prepPoll(this.#ring, this.#ring.sqe(this.#fd, sending), POLLOUT)
    this.#ring.submitSoon(this.writeRank)
  }

  /** @internal */
  get receiveRank(): Rank {
    return this.readRank
  }

  /** @internal */
  get sendRank(): Rank {
    return this.writeRank
  }

  /** @internal */
  send(sending: Sending): number {
    const buffers = this.takeToSend(sendBytes)
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL
    const [first] = buffers
    if (first === undefined) return 0
    if (buffers.length === 1) {
      sending.buffers = buffers
      sending.askedBytes = first.byteLength
      const address = this.#ring.addressOf(first)
      prepSend(this.#ring, this.#ring.sqe(this.#fd, sending), address, first.byteLength, flags)
    } else {
      const gather = Gather.of(buffers)
      sending.buffers = gather
      sending.askedBytes = gather.lengthBytes
      prepSendmsg(this.#ring, this.#ring.sqe(this.#fd, sending), gather.address, flags)
    }
    this.#ring.submitWithTurn(this.writeRank)
    return sending.askedBytes
  }

  /** @internal */
  polledOut(sending: Sending): void {
    sending.isPolling = sending.isFull = false
    if (sending.isCancelled) {
      sending.isCancelled = false
      this.sendCancelled()
    } else this.#lane.enter(sending)
  }

  /** @internal */
  sendDone(sending: Sending, result: number): void {
    this.#lane.done(sending.askedBytes)
    if (sending.buffers instanceof Gather) sending.buffers.release()
    sending.buffers = undefined
    sending.isFull = result === EAGAIN || (result >= 0 && result < sending.askedBytes)
    if (result >= 0) this.sent(result)
    else if (result === EAGAIN || result === EINTR) this.sent(0)
    else this.sendFailed(socketError(result, 'write'))
  }

  protected cancelSend(): void {
    const sending = this.#sending!
    if (sending.isPolling) {
      sending.isCancelled = true
      this.#ring.cancel(sending)
    } else if (this.#lane.leave(sending)) this.sendCancelled()
  }

  protected writeRankChanged(): void {
    this.#lane.rankChanged(this.#sending!)
  }

  protected shutdown(): void {
    const complete = (result: number) =>
      // ENOTCONN: the peer is gone; nothing to notify.
      this.shutDown(result < 0 && result !== ENOTCONN ? socketError(result, 'shutdown') : undefined)
    prepShutdown(this.#ring, this.#ring.sqe(this.#fd, { slot: -1, complete }), SHUT_WR)
    this.#ring.submitWithTurn(1)
  }

  protected closeSocket(): Promise<unknown> {
    this.#isClosed = true
    return closeSocket(this.#fd)
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
    if (!this.#isClosed) setsockopt(this.#fd, level, name, value)
  }

  protected setRef(isRef: boolean): void {
    this.#isRef = isRef
    this.#ring.setRef(this.#receiving, isRef && this.hasReaders)
    if (this.#sending !== undefined) this.#ring.setRef(this.#sending, isRef)
  }

  handOver(one: Waiting<never>): void {
    this.#ring.handOver(one)
  }

  override delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) this.#ring.delivered(one.deliveredRank)
    if (!this.isReceiving && !this.#receiving.hasMore && this.isRead(one)) this.#lane.ahead(this)
  }
}

/** The receive of a connection, for the ring and the lane. */
class Receiving implements Completion, Transfer {
  slot = -1
  isUnref = false
  place: Link<Transfer> | undefined = undefined
  bytes = smallBytes
  /** Waiting for the peer with memory or in a poll, waiting in the lane, or receiving. */
  step: 'wait' | 'poll' | 'lane' | 'take' = 'wait'
  /** There was more than the last receive took. */
  hasMore = false
  isCancelled = false
  memory: Memory | undefined = undefined
  /** The length of `memory` at the submission: a reader's memory may have been transferred meanwhile. */
  askedBytes = 0
  waitingRank: Rank = 3
  readonly #connection: UringConnection

  constructor(connection: UringConnection) {
    this.#connection = connection
  }

  get rank(): Rank {
    return this.#connection.receiveRank
  }

  transfer(): number {
    return this.#connection.receiveNow(this)
  }

  notStarted(error: unknown): void {
    this.#connection.receiveRefused(this, error)
  }

  complete(result: number, flags: number): void {
    this.#connection.receiveCompleted(this, result, flags)
  }
}

/** The send of a connection, for the ring and the lane. */
class Sending implements Completion, Transfer {
  slot = -1
  isUnref = false
  place: Link<Transfer> | undefined = undefined
  askedBytes = 0
  /** The kernel's buffer is full. */
  isFull = false
  isPolling = false
  isCancelled = false
  /** Held until the kernel is done with them. */
  buffers: Uint8Array[] | Gather | undefined = undefined
  readonly #connection: UringConnection

  constructor(connection: UringConnection) {
    this.#connection = connection
  }

  get rank(): Rank {
    return this.#connection.sendRank
  }

  transfer(): number {
    return this.#connection.send(this)
  }

  notStarted(error: unknown): void {
    this.#connection.sendRefused(error)
  }

  complete(result: number): void {
    if (this.isPolling) this.#connection.polledOut(this)
    else this.#connection.sendDone(this, result)
  }
}
