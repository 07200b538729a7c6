import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { type InternetAddress, internetAddress } from '@kiruna/net-socket/address'
import type { CheckedBind } from '@kiruna/net-socket/arguments'
import { type Datagram, datagramFrom, type Send, UdpSocket } from '@kiruna/net-socket/udp-socket'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { handOver } from './batch.ts'

/** How much may wait for a reader; more is dropped. A dgram.Socket cannot pause. */
const mostArrivedBytes = 256 * 1024
/** Counted for each datagram beside its bytes: it may be empty. */
const overheadBytes = 256

/** A UDP socket over a dgram.Socket. */
export class LibuvUdpSocket extends UdpSocket {
  readonly #socket: Socket
  readonly #arrived: Datagram[] = []
  #arrivedBytes = 0
  #droppedCount = 0
  /** A reader waits. */
  #isAsked = false
  #isRef = true

  /** @param socket bound; owned from now on */
  constructor(socket: Socket, { ipv6Only, asker }: CheckedBind) {
    const { address, port } = socket.address()
    super(internetAddress(address, port), address === '::' && !ipv6Only, asker)
    // An error is about a datagram that is lost; the next one is received all the same.
    this.#socket = socket
      .on('message', this.#onMessage)
      .on('error', () => {})
      .unref()
  }

  override get droppedCount(): number {
    return this.#droppedCount
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  readonly #onMessage = (bytes: Buffer, from: RemoteInfo): void => {
    const datagram = datagramFrom(from.address, from.port, bytes)
    if (this.#isAsked) {
      this.#stopAsking()
      this.received(datagram)
    } else if (this.#arrivedBytes + bytes.length + overheadBytes <= mostArrivedBytes) {
      this.#arrived.push(datagram)
      this.#arrivedBytes += bytes.length + overheadBytes
    } else this.#droppedCount++
  }

  protected startReceive(): void {
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
    this.#stopAsking()
    this.receiveCancelled()
  }

  #stopAsking(): void {
    this.#isAsked = false
    this.#socket.unref()
  }

  protected readRankChanged(): void {}

  /** It cannot be cancelled: libuv has usually sent it at once. */
  protected transmit(send: Send): void {
    // node:dgram does not hold them as they are: it reads them a tick later.
    this.#socket.send(send.bytes, send.port, send.to!.address, error => this.sent(send, error ?? undefined))
  }

  protected changeMembership(
    isJoining: boolean,
    _family: 'IPv4' | 'IPv6',
    group: string,
    interfaceAddress: string | undefined,
  ): void {
    if (isJoining) this.#socket.addMembership(group, interfaceAddress)
    else this.#socket.dropMembership(group, interfaceAddress)
  }

  protected setRef(isRef: boolean): void {
    this.#isRef = isRef
    if (isRef && this.#isAsked) this.#socket.ref()
    else this.#socket.unref()
  }

  protected closeSocket(): Promise<void> {
    return new Promise(resolve => this.#socket.close(resolve))
  }
}

/** @throws EADDRINUSE, EADDRNOTAVAIL, EACCES … (`err.code`). @see bind(2) */
export function bindSocket(
  { family, address, port }: InternetAddress,
  options: CheckedBind,
): Promise<Socket> {
  const { ipv6Only = false, reuseAddress = false } = options
  const type = family === 'IPv6' ? 'udp6' : 'udp4'
  const socket = createSocket({ type, ipv6Only, reuseAddr: reuseAddress })
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      socket.close()
      reject(error)
    }
    socket.once('error', fail)
    // `exclusive`: a cluster's worker has a socket of its own.
    socket.bind({ port, address, exclusive: true }, () => {
      socket.off('error', fail)
      try {
        setOptions(socket, options)
        resolve(socket)
      } catch (error) {
        fail(error)
      }
    })
  })
}

function setOptions(socket: Socket, options: CheckedBind): void {
  const { broadcast, ttl, multicastTtl, multicastLoopback, multicastInterface } = options
  if (broadcast !== undefined) socket.setBroadcast(broadcast)
  if (ttl !== undefined) socket.setTTL(ttl)
  if (multicastTtl !== undefined) socket.setMulticastTTL(multicastTtl)
  if (multicastLoopback !== undefined) socket.setMulticastLoopback(multicastLoopback)
  if (multicastInterface !== undefined) socket.setMulticastInterface(multicastInterface)
}
