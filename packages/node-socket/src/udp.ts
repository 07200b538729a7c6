import type { RemoteInfo, Socket } from 'node:dgram'
import { isIPv4 } from 'node:net'
import { Datagrams, type Send } from '@kiruna/net-socket/datagrams'
import { type Datagram, unmapped } from '@kiruna/net-socket/udp'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { handOver } from './batch.ts'

/** What comes before it is asked for waits, up to so much; then it is dropped. A dgram.Socket cannot be told to wait. */
const mostArrivedBytes = 256 * 1024
/** What a datagram takes besides its bytes, of which it may have none. */
const overheadBytes = 256

export class LibuvDatagrams extends Datagrams {
  readonly localAddress: { family: 'IPv4' | 'IPv6'; address: string; port: number }
  droppedCount = 0
  protected readonly isDual: boolean
  readonly #socket: Socket
  readonly #arrived: Datagram[] = []
  #arrivedBytes = 0
  /** Somebody waits for what comes next. */
  #isAsked = false
  #isRef = true

  constructor(socket: Socket, ipv6Only: boolean, caller: Asker) {
    super(caller)
    const { address, port, family } = socket.address()
    this.localAddress = { family: family === 'IPv6' ? 'IPv6' : 'IPv4', address, port }
    this.isDual = address === '::' && !ipv6Only
    // What an error tells of has been lost; the next datagram comes all the same.
    this.#socket = socket.on('message', this.#came).on('error', ignored).unref()
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  delivered(): void {}

  readonly #came = (bytes: Buffer, from: RemoteInfo): void => {
    const address = unmapped(from.address)
    const datagram: Datagram = { bytes, address, port: from.port, family: isIPv4(address) ? 'IPv4' : 'IPv6' }
    if (this.#isAsked) {
      this.#answer()
      this.received(datagram)
    } else if (this.#arrivedBytes + bytes.length + overheadBytes <= mostArrivedBytes) {
      this.#arrived.push(datagram)
      this.#arrivedBytes += bytes.length + overheadBytes
    } else this.droppedCount++
  }

  protected receive(): void {
    const datagram = this.#arrived.shift()
    if (datagram === undefined) {
      this.#isAsked = true
      if (this.#isRef) this.#socket.ref()
      return
    }
    this.#arrivedBytes -= datagram.bytes.length + overheadBytes
    this.received(datagram)
  }

  protected cancelReceive(): void {
    this.#answer()
    this.receiveCancelled()
  }

  #answer(): void {
    this.#isAsked = false
    this.#socket.unref()
  }

  protected readRankChanged(): void {}

  protected transmit(send: Send, address: string): void {
    this.#socket.send(send.bytes, send.port, address, error => this.isSent(send, error ?? undefined))
  }

  /** libuv has mostly sent it by then. */
  protected cancelTransmit(): void {}

  async addMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    this.#socket.addMembership(group, interfaceAddress)
  }

  async dropMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    this.#socket.dropMembership(group, interfaceAddress)
  }

  setRef(isRef: boolean): void {
    this.#isRef = isRef
    if (isRef && this.#isAsked) this.#socket.ref()
    else this.#socket.unref()
  }

  protected closeSocket(): Promise<void> {
    return new Promise(resolve => this.#socket.close(resolve))
  }
}

const ignored = () => {}
