import { constants } from 'node:os'
import type { InternetAddress } from '@kiruna/net-socket/address'
import type { CheckedBind } from '@kiruna/net-socket/arguments'
import { claim, giveBack, largeBytes, type Memory, takeMemory } from '@kiruna/net-socket/receive-memory'
import { socketError } from '@kiruna/net-socket/socket-error'
import { setBindOptions, type UdpOption, type UdpOptionCalls } from '@kiruna/net-socket/udp-options'
import { datagramFrom, type Send, UdpSocket } from '@kiruna/net-socket/udp-socket'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'
import { DispatchSocket } from './dispatch-socket.ts'
import { dispatcher } from './dispatcher.ts'

const { errno } = constants
/** macOS says this when the interface's queue is full. It passes, but a dispatch source does not wait for it. */
const exhausted = new Set([-errno.ENOMEM, -errno.ENOBUFS])
const pauseMs = 1
const ECANCELED = -errno.ECANCELED

/** macOS cannot set these for the IPv4 side of a socket of both families. */
const ipv4Options = new Set<UdpOption>(['ttl', 'multicastTtl', 'multicastLoopback'])

/**
 * A UDP socket on dispatch sources. A receive waits with memory for the longest datagram:
 *
 *     startReceive ─► source ─► recvmsg ─► received
 *     transmit ─► sendmsg ─► sendCompleted             from a source if the socket's buffer is full
 *
 * @see recvmsg(2), sendmsg(2)
 */
class DispatchUdpSocket extends UdpSocket {
  readonly #socket: DispatchSocket
  #memory: Memory | undefined = undefined
  /** The first one is under way, or waits until the kernel has memory again. */
  readonly #sends: Send[] = []
  #sendPause: NodeJS.Timeout | undefined = undefined

  /** @param socket bound; owned from now on */
  constructor(socket: DispatchSocket, isDual: boolean, caller: Asker) {
    super(socket.name(false) as InternetAddress, isDual, caller)
    this.#socket = socket
  }

  protected startReceive(): void {
    this.#memory = takeMemory(largeBytes)
    this.#socket.receiveFrom(this.readRank, this.#memory.bytes, this.#onReceived)
  }

  readonly #onReceived = (result: number): void => {
    const memory = this.#memory!
    this.#memory = undefined
    if (result < 0) {
      giveBack(memory)
      this.receiveErred(result)
      return
    }
    const { address, port } = this.#socket.sender()
    this.received(datagramFrom(address, port, claim(memory, result)))
  }

  /** If it is too late to cancel, the datagram is for the next reader. */
  protected cancelReceive(): void {
    if (!this.#socket.cancelRead()) return
    giveBack(this.#memory!)
    this.#memory = undefined
    this.receiveCancelled()
  }

  protected readRankChanged(): void {
    this.#socket.setReadRank(this.readRank)
  }

  protected transmit(send: Send): void {
    send.cancel = () => this.#cancelSend(send)
    if (this.#sends.push(send) === 1) this.#sendFirst()
  }

  readonly #sendFirst = (): void => {
    this.#sendPause = undefined
    while (this.#sends.length > 0) {
      const { rank, bytes, to } = this.#sends[0]!
      const result = this.#socket.sendTo(rank, bytes, to!, this.#onSent)
      if (result === undefined || !this.#isDone(result)) return
    }
  }

  readonly #onSent = (result: number): void => {
    if (this.#isDone(result)) this.#sendFirst()
  }

  /** Returns false if the send is tried again later. */
  #isDone(result: number): boolean {
    if (exhausted.has(result)) {
      this.#sendPause = setTimeout(this.#sendFirst, pauseMs)
      return false
    }
    this.sendCompleted(this.#sends.shift()!, result)
    return true
  }

  #cancelSend(send: Send): void {
    const index = this.#sends.indexOf(send)
    if (index === -1) return
    if (index === 0) {
      if (this.#sendPause === undefined && !this.#socket.cancelWrite()) return // it has been sent
      clearTimeout(this.#sendPause)
    }
    this.#sends.splice(index, 1)
    this.sendCompleted(send, ECANCELED)
    if (index === 0) this.#sendFirst()
  }

  protected changeMembership(
    isJoining: boolean,
    family: 'IPv4' | 'IPv6',
    group: string,
    interfaceAddress = '',
  ): void {
    const { native } = dispatcher()
    const result = native.changeMembership(this.#socket.id, isJoining, family, group, interfaceAddress)
    if (result < 0) throw socketError(result, isJoining ? 'addMembership' : 'dropMembership')
  }

  protected setRef(isRef: boolean): void {
    this.#socket.read.setRef(isRef)
  }

  protected closeSocket(): Promise<void> {
    return this.#socket.close()
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }
}

/**
 * socket, setsockopt, bind.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES … (`err.code`)
 */
export function bindAt(at: InternetAddress, options: CheckedBind): DispatchUdpSocket {
  const isDual = at.address === '::' && !options.ipv6Only
  const socket = DispatchSocket.open(at, true, 'bind')
  const check = (result: number, syscall: string) => {
    if (result < 0) throw socketError(result, syscall)
  }
  const calls: UdpOptionCalls = {
    set(option, value) {
      const result = socket.set(option, value)
      if (!isDual || !ipv4Options.has(option)) check(result, 'bind')
    },
    setInterface(family, address) {
      check(dispatcher().native.setInterface(socket.id, family, address), 'setMulticastInterface')
    },
  }
  try {
    if (options.reuseAddress) check(socket.set('reuseUdpAddress', true), 'bind')
    setBindOptions(calls, at.family, isDual, options)
    socket.bind(at, 'bind')
    return new DispatchUdpSocket(socket, isDual, options.asker)
  } catch (error) {
    void socket.close()
    throw error
  }
}
