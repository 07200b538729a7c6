import { isIP } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { BindOptions } from '@kiruna/net-socket/udp'
import { checkResult, setsockopt } from './call.ts'
import { sockaddrOf } from './sockaddr.ts'

// linux/socket.h, linux/in.h, linux/in6.h
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_BROADCAST = 6
const IPPROTO_IP = 0
const IP_TTL = 2
const IP_MULTICAST_IF = 32
const IP_MULTICAST_TTL = 33
const IP_MULTICAST_LOOP = 34
const IP_ADD_MEMBERSHIP = 35
const IP_DROP_MEMBERSHIP = 36
const IPPROTO_IPV6 = 41
const IPV6_UNICAST_HOPS = 16
const IPV6_MULTICAST_IF = 17
const IPV6_MULTICAST_HOPS = 18
const IPV6_MULTICAST_LOOP = 19
const IPV6_ADD_MEMBERSHIP = 20
const IPV6_DROP_MEMBERSHIP = 21
const IPV6_V6ONLY = 26
const EINVAL = -constants.errno.EINVAL

/** @see setsockopt(2) */
function set(fd: number, level: number, name: number, value: number | Buffer, syscall: string): void {
  checkResult(setsockopt(fd, level, name, value), syscall)
}

/** What is set before a socket is bound. @see socket(7), ip(7), ipv6(7) */
export function setBindOptions(
  fd: number,
  family: 'IPv4' | 'IPv6',
  isDual: boolean,
  options: BindOptions,
): void {
  const { reuseAddress, broadcast, ttl, multicastTtl, multicastLoopback, multicastInterface } = options
  const setNumber = (level: number, name: number, value: number) => set(fd, level, name, value, 'bind')
  if (family === 'IPv6') setNumber(IPPROTO_IPV6, IPV6_V6ONLY, Number(!isDual))
  if (reuseAddress) setNumber(SOL_SOCKET, SO_REUSEADDR, 1)
  if (broadcast) setNumber(SOL_SOCKET, SO_BROADCAST, 1)
  if (family === 'IPv4' || isDual) {
    if (ttl !== undefined) setNumber(IPPROTO_IP, IP_TTL, ttl)
    if (multicastTtl !== undefined) setNumber(IPPROTO_IP, IP_MULTICAST_TTL, multicastTtl)
    if (multicastLoopback !== undefined) {
      setNumber(IPPROTO_IP, IP_MULTICAST_LOOP, Number(multicastLoopback))
    }
  }
  if (family === 'IPv6') {
    if (ttl !== undefined) setNumber(IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl)
    if (multicastTtl !== undefined) setNumber(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, multicastTtl)
    if (multicastLoopback !== undefined) {
      setNumber(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, Number(multicastLoopback))
    }
  }
  if (multicastInterface !== undefined) setInterface(fd, multicastInterface)
}

function setInterface(fd: number, address: string): void {
  const syscall = 'setMulticastInterface'
  if (isIP(address) === 4) set(fd, IPPROTO_IP, IP_MULTICAST_IF, inAddr(address), syscall)
  else if (isIP(address) === 6) set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, scopeOf(address), syscall)
  else throw socketError(EINVAL, syscall)
}

/** @see ip(7) struct ip_mreq, ipv6(7) struct ipv6_mreq */
export function changeMembership(
  fd: number,
  isJoining: boolean,
  group: string,
  interfaceAddress: string | undefined,
): void {
  const syscall = isJoining ? 'addMembership' : 'dropMembership'
  const family = isIP(group)
  if (family === 4) {
    const at = interfaceAddress ?? '0.0.0.0'
    if (isIP(at) !== 4) throw socketError(EINVAL, syscall)
    const name = isJoining ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP
    set(fd, IPPROTO_IP, name, Buffer.concat([inAddr(group), inAddr(at)]), syscall)
  } else if (family === 6) {
    const at = interfaceAddress ?? group
    if (isIP(at) !== 6) throw socketError(EINVAL, syscall)
    const scope = Buffer.alloc(4)
    scope.writeUInt32LE(scopeOf(at))
    const name = isJoining ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP
    set(fd, IPPROTO_IPV6, name, Buffer.concat([in6Addr(group), scope]), syscall)
  } else throw socketError(EINVAL, syscall)
}

function inAddr(address: string): Buffer {
  return sockaddrOf({ family: 'IPv4', address, port: 0 }).subarray(4, 8)
}

function in6Addr(address: string): Buffer {
  return sockaddrOf({ family: 'IPv6', address, port: 0 }).subarray(8, 24)
}

/** The number of the interface behind the '%'; 0: the system chooses. */
function scopeOf(address: string): number {
  return sockaddrOf({ family: 'IPv6', address, port: 0 }).readUInt32LE(24)
}
