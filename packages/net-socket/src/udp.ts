import { isIPv4 } from 'node:net'
import { checkBuffer, checkInteger } from '@kiruna/priority/arguments'
import { coded, invalidType } from '@kiruna/priority/error'
import { checkBoolean, checkHost, checkPort } from './address.ts'

/** Where a datagram is sent. One that was received will do: it is answered. */
export interface Destination {
  port: number
  /** A name or an address; this machine without one. */
  host?: string | undefined
  /** As `host`, which comes first. */
  address?: string | undefined
}

export interface Datagram {
  bytes: Buffer
  /** Of the sender. An IPv4 address is written as one, also where the socket is for both families. */
  address: string
  port: number
  family: 'IPv4' | 'IPv6'
}

export interface BindOptions {
  /** 0, the default: one that is free. */
  port?: number | undefined
  /** Without one, every address of both families; where there is no IPv6, of IPv4. */
  host?: string | undefined
  /** Only IPv6, where there is no host or it is '::'. */
  ipv6Only?: boolean | undefined
  /** Others who want it too may have the same port. A multicast datagram then goes to all of them. */
  reuseAddress?: boolean | undefined
  /** It may send to a broadcast address. */
  broadcast?: boolean | undefined
  /** How many hops a datagram goes, from 1 to 255. */
  ttl?: number | undefined
  /** The same of multicast, from 0 to 255; without it 1: this network. */
  multicastTtl?: number | undefined
  /** What it sends to a group comes back to the members on this machine: true without it. */
  multicastLoopback?: boolean | undefined
  /** The interface that multicast leaves by: its address, in IPv6 its scope ('::%eth0'). */
  multicastInterface?: string | undefined
}

/** @throws TypeError, RangeError */
export function checkBindOptions(options: BindOptions): BindOptions & { port: number } {
  if (typeof options !== 'object' || options === null) throw invalidType('target', 'an object', options)
  const { port = 0, host, ttl, multicastTtl, multicastInterface } = options
  checkPort(port, 0)
  checkHost(host)
  for (const name of ['ipv6Only', 'reuseAddress', 'broadcast', 'multicastLoopback'] as const) {
    if (options[name] !== undefined) checkBoolean(options[name], name)
  }
  if (ttl !== undefined) checkInteger(ttl, 'ttl', 1, 255)
  if (multicastTtl !== undefined) checkInteger(multicastTtl, 'multicastTtl', 0, 255)
  if (multicastInterface !== undefined && typeof multicastInterface !== 'string') {
    throw invalidType('multicastInterface', 'a string', multicastInterface)
  }
  return { ...options, port }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE */
export function checkDatagram(bytes: string | Uint8Array): Uint8Array {
  const memory = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
  if (!(memory instanceof Uint8Array)) throw invalidType('bytes', 'a string or a Uint8Array', bytes)
  checkBuffer(memory)
  return memory
}

/** @throws TypeError, RangeError */
export function checkDestination(to: Destination): { port: number; host: string | undefined } {
  if (typeof to !== 'object' || to === null) throw invalidType('to', 'an object with a port', to)
  const { port, address, host = address } = to
  return { port: checkPort(port, 1), host: checkHost(host) }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkMembership(
  group: string,
  interfaceAddress: string | undefined,
): [group: string, interfaceAddress: string | undefined] {
  if (typeof group !== 'string') throw invalidType('group', 'a string', group)
  if (interfaceAddress !== undefined && typeof interfaceAddress !== 'string') {
    throw invalidType('interfaceAddress', 'a string', interfaceAddress)
  }
  return [group, interfaceAddress]
}

/** An IPv6 socket knows an IPv4 address as an IPv6 one. */
export function mapped(address: string): string {
  return isIPv4(address) ? `::ffff:${address}` : address
}

/** And this is what it was. */
export function unmapped(address: string): string {
  const inner = address.startsWith('::ffff:') ? address.slice(7) : ''
  return isIPv4(inner) ? inner : address
}

/** As a closed dgram.Socket has it. */
export function notRunning(): Error {
  return coded(Error, 'ERR_SOCKET_DGRAM_NOT_RUNNING', 'Not running')
}

export function isNotRunning(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_SOCKET_DGRAM_NOT_RUNNING'
}
