import { type Ring, ring } from '@kiruna/linux-uring/ring'
import { prepRecvmsg, prepSendmsg } from '@kiruna/linux-uring/socket-sqe'
import { type Completion, EAGAIN, EINTR, prepPoll } from '@kiruna/linux-uring/sqe'
import type { InternetAddress } from '@kiruna/net-socket/address'
import type { CheckedBind } from '@kiruna/net-socket/arguments'
import { claim, giveBack, largeBytes, type Memory, takeMemory } from '@kiruna/net-socket/receive-memory'
import { setBindOptions, type UdpOption } from '@kiruna/net-socket/udp-options'
import { datagramFrom, type Send, UdpSocket } from '@kiruna/net-socket/udp-socket'
import type { Waiting } from '@kiruna/net-socket/waiting'
import { type Asker, rankOf } from '@kiruna/priority'
import {
  check,
  closeSocket,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  nameOf,
  openSocket,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOL_SOCKET,
  setsockopt,
} from './calls.ts'
import { Message } from './msghdr.ts'
import { sockaddrOf } from './sockaddr.ts'

// linux/socket.h, poll(2)
const MSG_DONTWAIT = 0x40
const POLLIN = 1

// linux/socket.h, linux/in.h, linux/in6.h: level and name
const IP_MULTICAST_IF = 32
const IP_ADD_MEMBERSHIP = 35
const IP_DROP_MEMBERSHIP = 36
const IPV6_MULTICAST_IF = 17
const IPV6_ADD_MEMBERSHIP = 20
const IPV6_DROP_MEMBERSHIP = 21
const udpOptions: Record<UdpOption, [level: number, name: number]> = {
  ipv6Only: [IPPROTO_IPV6, IPV6_V6ONLY],
  broadcast: [SOL_SOCKET, 6],
  ttl: [IPPROTO_IP, 2],
  multicastTtl: [IPPROTO_IP, 33],
  multicastLoopback: [IPPROTO_IP, 34],
  ipv6Ttl: [IPPROTO_IPV6, 16],
  ipv6MulticastTtl: [IPPROTO_IPV6, 18],
  ipv6MulticastLoopback: [IPPROTO_IPV6, 19],
}

/**
 * A UDP socket on the ring. A receive waits in a POLL_ADD, which needs no memory and takes nothing when it is
 * cancelled:
 *
 *     startReceive ─► POLL_ADD ─► RECVMSG ─► received
 *     transmit ─► SENDMSG ─► sendCompleted               if the socket's buffer is full, it waits in the kernel
 *
 * @see io_uring_prep_recvmsg(3), io_uring_prep_sendmsg(3)
 */
class UringUdpSocket extends UdpSocket implements Completion {
  slot = -1
  isUnref = false
  readonly #ring: Ring = ring()
  readonly #fd: number
  readonly #message = new Message()
  #memory: Memory | undefined = undefined
  #isCancelled = false

  /** @param fd bound; this socket owns it from now on */
  constructor(fd: number, isDual: boolean, caller: Asker) {
    super(nameOf(fd, 'bind') as InternetAddress, isDual, caller)
    this.#fd = fd
  }

  protected startReceive(): void {
    this.#isCancelled = false
    prepPoll(this.#ring, this.#ring.sqe(this.#fd, this), POLLIN)
    this.#ring.submitSoon(this.readRank)
  }

  complete(result: number): void {
    if (this.#memory !== undefined) this.#onReceived(this.#memory, result)
    else if (this.#isCancelled) this.receiveCancelled()
    else this.#recvmsg() // also after a failed poll: recvmsg reports the error
  }

  #recvmsg(): void {
    try {
      const memory = (this.#memory = takeMemory(largeBytes))
      this.#message.receiveInto(memory.bytes)
      prepRecvmsg(this.#ring, this.#ring.sqe(this.#fd, this), this.#message.address, MSG_DONTWAIT)
    } catch (error) {
      this.#memory = undefined
      this.receiveNotStarted(error)
      return
    }
    this.#ring.submitWithTurn(this.readRank)
  }

  #onReceived(memory: Memory, result: number): void {
    this.#memory = undefined
    if (result >= 0) {
      const { address, port } = this.#message.sender
      let bytes: Buffer
      try {
        bytes = claim(memory, result)
      } catch (error) {
        this.receiveNotStarted(error) // the datagram is lost, as any may be
        return
      }
      this.received(datagramFrom(address, port, bytes))
      return
    }
    giveBack(memory)
    // EAGAIN: another receiver was quicker, or the checksum was wrong. The next reader, if there is one, polls again.
    if (this.#isCancelled || result === EAGAIN || result === EINTR) this.receiveCancelled()
    else this.receiveErred(result)
  }

  /** A RECVMSG is not cancelled: its datagram is for the next reader. */
  protected cancelReceive(): void {
    this.#isCancelled = true
    if (this.#memory === undefined) this.#ring.cancel(this)
  }

  protected readRankChanged(): void {}

  protected transmit(send: Send): void {
    const message = new Message()
    message.sendTo(send.to!, send.bytes)
    const transmission: Completion = {
      slot: -1,
      complete: result => {
        if ((result !== EINTR && result !== EAGAIN) || send.abortedWith !== undefined) {
          this.sendCompleted(send, result)
        } else submitAgain()
      },
    }
    const submitAgain = () => {
      try {
        this.checkWhole(send)
        submit()
      } catch (error) {
        this.sent(send, error)
      }
    }
    const submit = () => {
      prepSendmsg(this.#ring, this.#ring.sqe(this.#fd, transmission), message.address, 0)
      this.#ring.submitWithTurn(send.rank)
    }
    send.cancel = () => this.#ring.cancel(transmission)
    submit()
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
      set(this.#fd, IPPROTO_IP, isJoining ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, value, syscall)
    } else {
      // struct ipv6_mreq
      const value = Buffer.concat([in6Addr(group), scopeOf(interfaceAddress ?? group)])
      const name = isJoining ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP
      set(this.#fd, IPPROTO_IPV6, name, value, syscall)
    }
  }

  protected setRef(isRef: boolean): void {
    this.#ring.setRef(this, isRef)
  }

  protected closeSocket(): Promise<unknown> {
    return closeSocket(this.#fd)
  }

  handOver(one: Waiting<never>): void {
    this.#ring.handOver(one)
  }

  override delivered(one: Waiting<never>): void {
    if (one.deliveredRank !== -1) this.#ring.delivered(one.deliveredRank)
  }
}

/**
 * socket, setsockopt, bind.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES … (`err.code`); the signal's reason
 */
export async function bindAt(at: InternetAddress, options: CheckedBind): Promise<UringUdpSocket> {
  const { asker, ipv6Only, reuseAddress } = options
  const isDual = at.address === '::' && !ipv6Only
  const fd = await openSocket(at, SOCK_DGRAM, rankOf(asker.priority), 'bind')
  const calls = {
    set: (option: UdpOption, value: number) => set(fd, ...udpOptions[option], value, 'bind'),
    setInterface(family: 'IPv4' | 'IPv6', address: string) {
      const syscall = 'setMulticastInterface'
      if (family === 'IPv4') set(fd, IPPROTO_IP, IP_MULTICAST_IF, inAddr(address), syscall)
      else set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, scopeOf(address), syscall)
    },
  }
  try {
    asker.signal?.throwIfAborted()
    if (reuseAddress) set(fd, SOL_SOCKET, SO_REUSEADDR, 1, 'bind')
    setBindOptions(calls, at.family, isDual, options)
    check(ring().native.bind(fd, sockaddrOf(at)), 'bind', at)
    return new UringUdpSocket(fd, isDual, asker)
  } catch (error) {
    ring().close(fd)
    throw error
  }
}

/** @see setsockopt(2) */
function set(fd: number, level: number, name: number, value: number | Buffer, syscall: string): void {
  check(setsockopt(fd, level, name, value), syscall)
}

function inAddr(address: string): Buffer {
  return sockaddrOf({ family: 'IPv4', address, port: 0 }).subarray(4, 8)
}

function in6Addr(address: string): Buffer {
  return sockaddrOf({ family: 'IPv6', address, port: 0 }).subarray(8, 24)
}

/** The number of the interface after the '%'; 0: the system chooses. */
function scopeOf(address: string): Buffer {
  return sockaddrOf({ family: 'IPv6', address, port: 0 }).subarray(24)
}
