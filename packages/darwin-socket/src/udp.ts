import { isIP } from 'node:net'
import { constants } from 'node:os'
import { Datagrams, type Send } from '@kiruna/net-socket/datagrams'
import { cut, giveBack, largeBytes, type Memory, takeMemory } from '@kiruna/net-socket/receive-memory'
import { socketError } from '@kiruna/net-socket/socket-error'
import { unmapped } from '@kiruna/net-socket/udp'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { dispatcher } from './dispatcher.ts'
import type { DispatchSocket, InternetAddress } from './half.ts'

const { errno } = constants
const EINVAL = -errno.EINVAL
/** It passes. macOS says so where the interface's queue is full, and its sources do not wait for that. */
const exhausted = new Set([-errno.ENOMEM, -errno.ENOBUFS])
const pauseMs = 1

/**
 * A UDP socket on dispatch sources. What has the longest datagram's memory is a receive that waits:
 *
 *     receive ─► source ─► recvmsg ─► received
 *     transmit ─► sendmsg ─► isSent             from a source where the socket's buffer is full
 *
 * @see recvmsg(2), sendmsg(2)
 */
export class DispatchDatagrams extends Datagrams {
  readonly localAddress: InternetAddress
  /** What does not fit the kernel's buffer is dropped there. */
  readonly droppedCount = 0
  protected readonly isDual: boolean
  readonly #socket: DispatchSocket
  #memory: Memory | undefined = undefined
  #pause: NodeJS.Timeout | undefined = undefined
  /** The first of them is under way, or waits until the kernel has memory again. */
  readonly #sends: { send: Send; to: InternetAddress }[] = []
  #sendPause: NodeJS.Timeout | undefined = undefined

  /** @param socket bound, its own from now on */
  constructor(socket: DispatchSocket, isDual: boolean, caller: Asker) {
    super(caller)
    this.#socket = socket
    this.localAddress = socket.name(false) as InternetAddress
    this.isDual = isDual
  }

  protected receive(): void {
    this.#memory = takeMemory(largeBytes)
    this.#socket.receiveFrom(this.readRank, this.#memory.bytes, this.#came)
  }

  readonly #came = (result: number): void => {
    const memory = this.#memory!
    this.#memory = undefined
    if (result < 0) {
      giveBack(memory)
      this.#cameNot(result)
      return
    }
    const { address, port } = this.#socket.sender()
    const from = unmapped(address)
    const family = from.includes(':') ? 'IPv6' : 'IPv4'
    this.received({ bytes: cut(memory, result), address: from, port, family })
  }

  #cameNot(result: number): void {
    if (!exhausted.has(result)) this.receiveFailed(socketError(result, 'receive'))
    else {
      this.#pause = setTimeout(() => {
        this.#pause = undefined
        this.receiveCancelled() // and the next one
      }, pauseMs)
    }
  }

  /** What a receive takes that is too late to be cancelled is for the next one. */
  protected cancelReceive(): void {
    if (this.#pause !== undefined) {
      clearTimeout(this.#pause)
      this.#pause = undefined
    } else if (this.#socket.cancelRead()) {
      giveBack(this.#memory!)
      this.#memory = undefined
    } else return
    this.receiveCancelled()
  }

  protected readRankChanged(): void {
    this.#socket.setReadRank(this.readRank)
  }

  protected transmit(send: Send, address: string): void {
    const { family } = this.localAddress
    this.#sends.push({ send, to: { family, address, port: send.port } })
    if (this.#sends.length === 1) this.#sendFirst()
  }

  readonly #sendFirst = (): void => {
    this.#sendPause = undefined
    while (this.#sends.length > 0) {
      const { send, to } = this.#sends[0]!
      const result = this.#socket.sendTo(send.rank, send.bytes, to, this.#sendDone)
      if (result === undefined || !this.#isDone(result)) return
    }
  }

  readonly #sendDone = (result: number): void => {
    if (this.#isDone(result)) this.#sendFirst()
  }

  /** Returns false if it is to be tried again later. */
  #isDone(result: number): boolean {
    if (exhausted.has(result)) {
      this.#sendPause = setTimeout(this.#sendFirst, pauseMs)
      return false
    }
    const { send, to } = this.#sends.shift()!
    this.isSent(send, result < 0 ? socketError(result, 'send', to) : undefined)
    return true
  }

  protected cancelTransmit(send: Send, reason: unknown): void {
    const index = this.#sends.findIndex(one => one.send === send)
    if (index === -1) return
    if (index === 0) {
      if (this.#sendPause === undefined && !this.#socket.cancelWrite()) return // it has gone
      clearTimeout(this.#sendPause)
    }
    this.#sends.splice(index, 1)
    this.isSent(send, reason)
    if (index === 0) this.#sendFirst()
  }

  async addMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    this.#changeMembership(true, group, interfaceAddress)
  }

  async dropMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    this.#changeMembership(false, group, interfaceAddress)
  }

  #changeMembership(isJoining: boolean, group: string, interfaceAddress = ''): void {
    const version = isIP(group)
    const family = version === 4 ? 'IPv4' : 'IPv6'
    const isOne = version !== 0 && (interfaceAddress === '' || isIP(interfaceAddress) === version)
    const result = isOne
      ? dispatcher().native.changeMembership(this.#socket.id, isJoining, family, group, interfaceAddress)
      : EINVAL
    if (result < 0) throw socketError(result, isJoining ? 'addMembership' : 'dropMembership')
  }

  setRef(isRef: boolean): void {
    this.#socket.read.setRef(isRef)
  }

  protected closeSocket(): Promise<void> {
    return this.#socket.close()
  }

  handOver(one: Waiting<never>): void {
    dispatcher().handOver(one)
  }

  delivered(): void {}
}
