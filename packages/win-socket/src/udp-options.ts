import { isIP } from 'node:net'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { BindOptions } from '@kiruna/net-socket/udp'
import { errnoOf } from '@kiruna/priority/error'
import { port } from '@kiruna/win-iocp/iocp'
import {
  AF_INET,
  AF_INET6,
  check,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  SO_EXCLUSIVEADDRUSE,
  SOL_SOCKET,
} from './address.ts'

// winsock2.h, ws2ipdef.h
const SO_REUSEADDR = 4
const SO_BROADCAST = 0x20
const IP_TTL = 4
const IP_MULTICAST_IF = 9
const IP_MULTICAST_TTL = 10
const IP_MULTICAST_LOOP = 11
const IP_ADD_MEMBERSHIP = 12
const IP_DROP_MEMBERSHIP = 13
const IPV6_UNICAST_HOPS = 4
const IPV6_MULTICAST_IF = 9
const IPV6_MULTICAST_HOPS = 10
const IPV6_MULTICAST_LOOP = 11
const IPV6_ADD_MEMBERSHIP = 12
const IPV6_DROP_MEMBERSHIP = 13
const EINVAL = errnoOf('EINVAL')

/** @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-setsockopt */
function set(socket: number, level: number, name: number, value: number | Uint8Array, syscall: string): void {
  check(port().native.setOption(socket, level, name, value), syscall)
}

/** What is set before a socket is bound. @see https://learn.microsoft.com/windows/win32/winsock/ipproto-ip-socket-options */
export function setBindOptions(
  socket: number,
  family: 'IPv4' | 'IPv6',
  isDual: boolean,
  options: BindOptions,
): void {
  const { reuseAddress, broadcast, ttl, multicastTtl, multicastLoopback, multicastInterface } = options
  const setNumber = (level: number, name: number, value: number | boolean | undefined) => {
    if (value !== undefined) set(socket, level, name, Number(value), 'bind')
  }
  // Without the one, Windows would let others have the port with the other.
  setNumber(SOL_SOCKET, reuseAddress ? SO_REUSEADDR : SO_EXCLUSIVEADDRUSE, 1)
  if (broadcast) setNumber(SOL_SOCKET, SO_BROADCAST, 1)
  if (family === 'IPv6') {
    setNumber(IPPROTO_IPV6, IPV6_V6ONLY, !isDual)
    setNumber(IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl)
    setNumber(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, multicastTtl)
    setNumber(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, multicastLoopback)
  }
  if (family === 'IPv4' || isDual) {
    setNumber(IPPROTO_IP, IP_TTL, ttl)
    setNumber(IPPROTO_IP, IP_MULTICAST_TTL, multicastTtl)
    setNumber(IPPROTO_IP, IP_MULTICAST_LOOP, multicastLoopback)
  }
  if (multicastInterface !== undefined) setInterface(socket, multicastInterface)
}

function setInterface(socket: number, address: string): void {
  const syscall = 'setMulticastInterface'
  if (isIP(address) === 4) set(socket, IPPROTO_IP, IP_MULTICAST_IF, inAddr(address), syscall)
  else if (isIP(address) === 6) set(socket, IPPROTO_IPV6, IPV6_MULTICAST_IF, scopeOf(address), syscall)
  else throw socketError(EINVAL, syscall)
}

/** @see https://learn.microsoft.com/windows/win32/api/ws2ipdef/ns-ws2ipdef-ip_mreq, …-ipv6_mreq */
export function changeMembership(
  socket: number,
  isJoining: boolean,
  group: string,
  interfaceAddress: string | undefined,
): void {
  const syscall = isJoining ? 'addMembership' : 'dropMembership'
  const family = isIP(group)
  const at = interfaceAddress ?? (family === 4 ? '0.0.0.0' : group)
  if (family === 0 || isIP(at) !== family) throw socketError(EINVAL, syscall)
  if (family === 4) {
    const name = isJoining ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP
    set(socket, IPPROTO_IP, name, Buffer.concat([inAddr(group), inAddr(at)]), syscall)
  } else {
    const name = isJoining ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP
    set(socket, IPPROTO_IPV6, name, Buffer.concat([in6Addr(group), scopeOf(at)]), syscall)
  }
}

function inAddr(address: string): Buffer {
  return port().native.addressBytes(AF_INET, address)
}

function in6Addr(address: string): Buffer {
  return port().native.addressBytes(AF_INET6, address).subarray(0, 16)
}

/** The number of the interface behind the '%'; 0: the system chooses. */
function scopeOf(address: string): Buffer {
  return port().native.addressBytes(AF_INET6, address).subarray(16)
}
