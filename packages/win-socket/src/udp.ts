import type { InternetAddress } from '@kiruna/net-socket/address'
import type { CheckedBind } from '@kiruna/net-socket/arguments'
import { claim, giveBack, largeBytes, type Memory, takeMemory } from '@kiruna/net-socket/receive-memory'
import { setBindOptions, type UdpOption } from '@kiruna/net-socket/udp-options'
import { datagramFrom, type Send, UdpSocket } from '@kiruna/net-socket/udp-socket'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { type Completion, type Port, port } from '@kiruna/win-iocp/iocp'
import { senderBytes } from '@kiruna/win-iocp/native'
import {
  AF_INET,
  AF_INET6,
  addressFor,
  addressFrom,
  check,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  nameOf,
  openSocket,
  SO_EXCLUSIVEADDRUSE,
  SOCK_DGRAM,
  SOL_SOCKET,
} from './address.ts'

// winsock2.h, ws2ipdef.h: level and name
const SO_REUSEADDR = 4
const IP_MULTICAST_IF = 9
const IP_ADD_MEMBERSHIP = 12
const IP_DROP_MEMBERSHIP = 13
const IPV6_MULTICAST_IF = 9
const IPV6_ADD_MEMBERSHIP = 12
const IPV6_DROP_MEMBERSHIP = 13
const udpOptions: Record<UdpOption, [level: number, name: number]> = {
  ipv6Only: [IPPROTO_IPV6, IPV6_V6ONLY],
  broadcast: [SOL_SOCKET, 0x20],
  ttl: [IPPROTO_IP, 4],
  multicastTtl: [IPPROTO_IP, 10],
  multicastLoopback: [IPPROTO_IP, 11],
  ipv6Ttl: [IPPROTO_IPV6, 4],
  ipv6MulticastTtl: [IPPROTO_IPV6, 10],
  ipv6MulticastLoopback: [IPPROTO_IPV6, 11],
}

const ECANCELED = errnoOf('ECANCELED')

/**
 * A UDP socket on the completion port. A receive waits with memory for the largest datagram: without memory it could
 * only peek, and a datagram would complete it with an error.
 *
 *     startReceive ─► WSARecvFrom ─► received
 *     transmit ─► WSASendTo ─► sendCompleted         if the socket's buffer is full, it waits in the system
 *
 * @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasendto
 */
class IocpUdpSocket extends UdpSocket implements Completion {
  slot = -1
  isUnref = false
  readonly #port: Port = port()
  readonly #socket: number
  /** Held until the system is done with them. */
  #memory: Memory | undefined = undefined
  readonly #sender = Buffer.allocUnsafeSlow(senderBytes)

  /** @param socket bound; owned from now on */
  constructor(socket: number, isDual: boolean, caller: Asker) {
    super(nameOf(socket, false) as InternetAddress, isDual, caller)
    this.#socket = socket
  }

  protected startReceive(): void {
    const { native } = this.#port
    const memory = (this.#memory = takeMemory(largeBytes))
    native.receiveFrom(this.#port.begin(this), this.readRank, this.#socket, memory.bytes, this.#sender)
  }

  complete(result: number): void {
    const memory = this.#memory!
    this.#memory = undefined
    if (result >= 0) {
      const { address, port } = addressFrom(this.#port.native.senderOf(this.#sender)) as InternetAddress
      this.received(datagramFrom(address, port, claim(memory, result)))
      return
    }
    giveBack(memory)
    if (result === ECANCELED) this.receiveCancelled()
    else this.receiveErred(result)
  }

  /** A datagram that is received all the same is for the next reader. */
  protected cancelReceive(): void {
    this.#port.cancel(this)
  }

  protected readRankChanged(): void {}

  protected transmit(send: Send): void {
    const { native } = this.#port
    const transmission: Completion = { slot: -1, complete: result => this.sendCompleted(send, result) }
    const slot = this.#port.begin(transmission)
    native.sendTo(slot, send.rank, this.#socket, send.bytes, ...addressFor(send.to!))
    send.cancel = () => this.#port.cancel(transmission)
  }

  protected changeMembership(
    isJoining: boolean,
    family: 'IPv4' | 'IPv6',
    group: string,
    interfaceAddress: string | undefined,
  ): void {
    const syscall = isJoining ? 'addMembership' : 'dropMembership'
    if (family === 'IPv4') {
      // struct ip_mreq
      const value = Buffer.concat([inAddr(group), inAddr(interfaceAddress ?? '0.0.0.0')])
      setOption(this.#socket, IPPROTO_IP, isJoining ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, value, syscall)
    } else {
      // struct ipv6_mreq
      const value = Buffer.concat([in6Addr(group), scopeOf(interfaceAddress ?? group)])
      const name = isJoining ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP
      setOption(this.#socket, IPPROTO_IPV6, name, value, syscall)
    }
  }

  protected setRef(isRef: boolean): void {
    this.#port.setRef(this, isRef)
  }

  protected async closeSocket(): Promise<void> {
    this.#port.native.closeSocket(this.#socket)
  }

  handOver(one: Waiting<never>): void {
    this.#port.handOver(one)
  }
}

/**
 * WSASocket, setsockopt, bind.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES … (`err.code`)
 */
export function bindAt(at: InternetAddress, options: CheckedBind): IocpUdpSocket {
  const isDual = at.address === '::' && !options.ipv6Only
  const { native } = port()
  const socket = openSocket(at, SOCK_DGRAM, 'bind')
  const calls = {
    set: (option: UdpOption, value: number) => setOption(socket, ...udpOptions[option], value, 'bind'),
    setInterface(family: 'IPv4' | 'IPv6', address: string) {
      const syscall = 'setMulticastInterface'
      if (family === 'IPv4') setOption(socket, IPPROTO_IP, IP_MULTICAST_IF, inAddr(address), syscall)
      else setOption(socket, IPPROTO_IPV6, IPV6_MULTICAST_IF, scopeOf(address), syscall)
    },
  }
  try {
    // Without SO_EXCLUSIVEADDRUSE, Windows would let others bind the port with SO_REUSEADDR.
    setOption(socket, SOL_SOCKET, options.reuseAddress ? SO_REUSEADDR : SO_EXCLUSIVEADDRUSE, 1, 'bind')
    setBindOptions(calls, at.family, isDual, options)
    check(native.bindSocket(socket, ...addressFor(at)), 'bind', at)
    return new IocpUdpSocket(socket, isDual, options.asker)
  } catch (error) {
    native.closeSocket(socket)
    throw error
  }
}

/** @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-setsockopt */
function setOption(
  socket: number,
  level: number,
  name: number,
  value: number | Uint8Array,
  syscall: string,
): void {
  check(port().native.setOption(socket, level, name, value), syscall)
}

function inAddr(address: string): Buffer {
  return port().native.addressBytes(AF_INET, address)
}

function in6Addr(address: string): Buffer {
  return port().native.addressBytes(AF_INET6, address).subarray(0, 16)
}

/** The number of the interface after the '%'; 0: the system chooses. */
function scopeOf(address: string): Buffer {
  return port().native.addressBytes(AF_INET6, address).subarray(16)
}
