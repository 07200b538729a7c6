import { constants } from 'node:os'
import { type Ring, ring } from '@kiruna/linux-uring/ring'
import { type Completion, EAGAIN, EINTR, prepPoll, prepRecvmsg, prepSendmsg } from '@kiruna/linux-uring/sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Datagrams, type Send } from '@kiruna/net-socket/datagrams'
import { cut, giveBack, largeBytes, type Memory, takeMemory } from '@kiruna/net-socket/receive-memory'
import { socketError } from '@kiruna/net-socket/socket-error'
import { unmapped } from '@kiruna/net-socket/udp'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { Message } from './message.ts'
import { changeMembership } from './udp-options.ts'

// linux/socket.h, poll(2)
const MSG_DONTWAIT = 0x40
const POLLIN = 1

const { errno } = constants
/** What does not pass. All else is short of memory, or an earlier datagram's: what comes next is received all the same. */
const lasting = new Set([errno.EBADF, errno.ENOTSOCK, errno.EINVAL, errno.EFAULT].map(one => -one))
const pauseMs = 1

/**
 * A UDP socket on the ring. A receive waits in a POLL_ADD, which a cancel takes nothing from and which needs no memory:
 *
 *     receive ─► POLL_ADD ─► RECVMSG ─► received
 *     transmit ─► SENDMSG ─► isSent                      where the socket's buffer is full it waits in the kernel
 *
 * @see io_uring_prep_recvmsg(3), io_uring_prep_sendmsg(3)
 */
export class UringDatagrams extends Datagrams implements Completion {
  slot = -1
  isUnref = false
  readonly localAddress: { family: 'IPv4' | 'IPv6'; address: string; port: number }
  /** What does not fit the kernel's buffer is dropped there. */
  readonly droppedCount = 0
  protected readonly isDual: boolean
  readonly #ring: Ring = ring()
  readonly #fd: number
  readonly #message = new Message()
  #memory: Memory | undefined = undefined
  #isCancelled = false
  readonly #sending = new Map<Send, Transmission>()

  /** @param fd of a bound socket, its own from now on */
  constructor(fd: number, localAddress: UringDatagrams['localAddress'], isDual: boolean, caller: Asker) {
    super(caller)
    this.#fd = fd
    this.localAddress = localAddress
    this.isDual = isDual
  }

  protected receive(): void {
    this.#isCancelled = false
    prepPoll(this.#ring, this.#ring.sqe(this.#fd, this), POLLIN)
    this.#ring.submitSoon(this.readRank)
  }

  complete(result: number): void {
    if (this.#memory !== undefined) this.#came(this.#memory, result)
    else if (this.#isCancelled) this.receiveCancelled()
    else this.#recvmsg() // or whatever was wrong with the poll
  }

  #recvmsg(): void {
    const memory = (this.#memory = takeMemory(largeBytes))
    this.#message.receiveInto(memory.bytes)
    prepRecvmsg(this.#ring, this.#ring.sqe(this.#fd, this), this.#message.address, MSG_DONTWAIT)
    this.#ring.submitWithTurn(this.readRank)
  }

  #came(memory: Memory, result: number): void {
    this.#memory = undefined
    if (result < 0) {
      giveBack(memory)
      this.#cameNot(result)
      return
    }
    const { address, port } = this.#message.sender as SocketAddress & { family: 'IPv4' | 'IPv6' }
    const from = unmapped(address)
    this.received({
      bytes: cut(memory, result),
      address: from,
      port,
      family: from.includes(':') ? 'IPv6' : 'IPv4',
    })
  }

  #cameNot(result: number): void {
    if (this.#isCancelled) this.receiveCancelled()
    // Somebody else was quicker, or its checksum was wrong.
    else if (result === EAGAIN || result === EINTR) this.receive()
    else if (lasting.has(result)) this.receiveFailed(socketError(result, 'receive'))
    else setTimeout(() => (this.#isCancelled ? this.receiveCancelled() : this.receive()), pauseMs)
  }

  /** What a receive takes that is too late to be cancelled is for the next one. */
  protected cancelReceive(): void {
    this.#isCancelled = true
    if (this.#memory === undefined) this.#ring.cancel(this)
  }

  protected readRankChanged(): void {}

  protected transmit(send: Send, address: string): void {
    const { family } = this.localAddress
    const transmission = new Transmission(this.#fd, send, { family, address, port: send.port }, result => {
      this.#sending.delete(send)
      this.isSent(send, result)
    })
    this.#sending.set(send, transmission)
    transmission.begin()
  }

  protected cancelTransmit(send: Send, reason: unknown): void {
    this.#sending.get(send)!.cancel(reason)
  }

  async addMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    changeMembership(this.#fd, true, group, interfaceAddress)
  }

  async dropMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    changeMembership(this.#fd, false, group, interfaceAddress)
  }

  setRef(isRef: boolean): void {
    this.#ring.setRef(this, isRef)
  }

  protected closeSocket(): Promise<void> {
    return new Promise(resolve => this.#ring.close(this.#fd, { slot: -1, complete: () => resolve() }))
  }

  handOver(one: Waiting<never>): void {
    this.#ring.handOver(one)
  }

  delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) this.#ring.delivered(one.deliveredRank)
  }
}

/** One datagram, while the kernel has it. */
class Transmission implements Completion {
  slot = -1
  readonly #fd: number
  readonly #send: Send
  readonly #to: SocketAddress
  readonly #done: (reason?: unknown) => void
  readonly #message = new Message()
  #abortedWith: { reason: unknown } | undefined = undefined

  constructor(fd: number, send: Send, to: SocketAddress, done: (reason?: unknown) => void) {
    this.#fd = fd
    this.#send = send
    this.#to = to
    this.#done = done
    this.#message.sendTo(to, send.bytes)
  }

  begin(): void {
    const to = ring()
    prepSendmsg(to, to.sqe(this.#fd, this), this.#message.address, 0)
    to.submitWithTurn(this.#send.rank)
  }

  cancel(reason: unknown): void {
    this.#abortedWith = { reason }
    ring().cancel(this)
  }

  complete(result: number): void {
    if (result >= 0) this.#done()
    else if (this.#abortedWith !== undefined) this.#done(this.#abortedWith.reason)
    else if (result === EINTR || result === EAGAIN) this.begin()
    else this.#done(socketError(result, 'send', this.#to))
  }
}
