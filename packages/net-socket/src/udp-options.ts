import { isIP } from 'node:net'
import { errnoOf } from '@kiruna/priority/error'
import type { BindOptions } from './arguments.ts'
import { socketError } from './socket-error.ts'

type Family = 'IPv4' | 'IPv6'

/** The options with numeric values. Each system has its own numbers for them. @see socket(7), ip(7), ipv6(7) */
export type UdpOption =
  | 'ipv6Only'
  | 'broadcast'
  | 'ttl'
  | 'multicastTtl'
  | 'multicastLoopback'
  | 'ipv6Ttl'
  | 'ipv6MulticastTtl'
  | 'ipv6MulticastLoopback'

/** A pair's system calls that set them. @see setsockopt(2) */
export interface UdpOptionCalls {
  set(option: UdpOption, value: number): void
  /** Sets the interface for outgoing multicast. */
  setInterface(family: Family, address: string): void
}

/** Sets the options of a socket before it is bound. A socket of both families has the options of both. */
export function setBindOptions(
  calls: UdpOptionCalls,
  family: Family,
  isDual: boolean,
  options: BindOptions,
): void {
  const { broadcast, ttl, multicastTtl, multicastLoopback, multicastInterface } = options
  const set = (option: UdpOption, value: number | boolean | undefined) => {
    if (value !== undefined) calls.set(option, Number(value))
  }
  if (broadcast) set('broadcast', true)
  if (family === 'IPv6') {
    set('ipv6Only', !isDual)
    set('ipv6Ttl', ttl)
    set('ipv6MulticastTtl', multicastTtl)
    set('ipv6MulticastLoopback', multicastLoopback)
  }
  if (family === 'IPv4' || isDual) {
    set('ttl', ttl)
    set('multicastTtl', multicastTtl)
    set('multicastLoopback', multicastLoopback)
  }
  if (multicastInterface === undefined) return
  calls.setInterface(familyOf(multicastInterface, 'setMulticastInterface'), multicastInterface)
}

/** @throws EINVAL: not an address, or one of the other family (`err.code`) */
export function familyOf(address: string, syscall: string, expected?: Family): Family {
  const version = isIP(address)
  const family = version === 4 ? 'IPv4' : 'IPv6'
  if (version === 0 || (expected !== undefined && family !== expected)) {
    throw socketError(errnoOf('EINVAL'), syscall)
  }
  return family
}
