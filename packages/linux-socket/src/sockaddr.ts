import { readFileSync } from 'node:fs'
import { SocketAddress as NodeSocketAddress } from 'node:net'
import { basename } from 'node:path'
import type { SocketAddress } from '@kiruna/net-socket/address'

// linux/socket.h
const AF_UNIX = 1
const AF_INET = 2
const AF_INET6 = 10

/** sizeof(struct sockaddr_storage) */
export const longestSockaddrBytes = 128

/** AF_UNIX, AF_INET or AF_INET6. */
export function familyOf(at: SocketAddress): number {
  return at.family === 'Unix' ? AF_UNIX : at.family === 'IPv4' ? AF_INET : AF_INET6
}

/**
 * An address in the kernel's form.
 * @see ip(7) sockaddr_in, ipv6(7) sockaddr_in6, unix(7) sockaddr_un
 */
export function sockaddrOf(at: SocketAddress): Buffer {
  if (at.family === 'Unix') {
    // An abstract name is as long as the structure says; a path ends with a zero byte.
    const path = Buffer.from(at.path.startsWith('\0') ? at.path : `${at.path}\0`)
    const sockaddr = Buffer.alloc(2 + path.length)
    sockaddr.writeUInt16LE(AF_UNIX)
    path.copy(sockaddr, 2)
    return sockaddr
  }
  const isIPv4 = at.family === 'IPv4'
  const sockaddr = Buffer.alloc(isIPv4 ? 16 : 28)
  sockaddr.writeUInt16LE(isIPv4 ? AF_INET : AF_INET6)
  sockaddr.writeUInt16BE(at.port, 2)
  if (isIPv4) sockaddr.set(at.address.split('.').map(Number), 4)
  else {
    const [address, zone] = at.address.split('%')
    sockaddr.set(ipv6Bytes(address!), 8)
    if (zone !== undefined) sockaddr.writeUInt32LE(scopeOf(zone), 24)
  }
  return sockaddr
}

/** An address from the kernel's form; undefined: none of these three families. */
export function parseSockaddr(sockaddr: Buffer): SocketAddress | undefined {
  if (sockaddr.length < 2) return undefined
  const family = sockaddr.readUInt16LE()
  if (family === AF_UNIX) return { family: 'Unix', path: unixPath(sockaddr.subarray(2)) }
  if (family === AF_INET) {
    return { family: 'IPv4', address: sockaddr.subarray(4, 8).join('.'), port: sockaddr.readUInt16BE(2) }
  }
  if (family !== AF_INET6) return undefined
  const words = Array.from({ length: 8 }, (_, i) => sockaddr.readUInt16BE(8 + 2 * i).toString(16))
  const { address } = new NodeSocketAddress({ address: words.join(':'), family: 'ipv6' })
  return { family: 'IPv6', address, port: sockaddr.readUInt16BE(2) }
}

function unixPath(bytes: Buffer): string {
  if (bytes[0] === 0) return bytes.toString() // abstract
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end)
}

/** @param address as inet_pton(3) takes it, without a zone */
function ipv6Bytes(address: string): Uint8Array {
  const bytes = new Uint8Array(16)
  const [head = '', tail = ''] = address.split('::')
  const first = groupsOf(head)
  const last = groupsOf(tail)
  bytes.set(first)
  bytes.set(last, 16 - last.length)
  return bytes
}

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => {
    if (group.includes('.')) return group.split('.').map(Number)
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })
}

/** @param zone the interface of a link-local address: its number, or its name, see netdevice(7) */
function scopeOf(zone: string): number {
  if (/^\d+$/.test(zone)) return Number(zone)
  try {
    return Number(readFileSync(`/sys/class/net/${basename(zone)}/ifindex`, 'latin1'))
  } catch {
    return 0
  }
}
