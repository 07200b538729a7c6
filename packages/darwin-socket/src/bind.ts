import { isIP } from 'node:net'
import { constants } from 'node:os'
import { addressesOf } from '@kiruna/net-socket/address'
import { type SocketError, socketError } from '@kiruna/net-socket/socket-error'
import type { BindOptions } from '@kiruna/net-socket/udp'
import type { Asker } from '@kiruna/priority'
import { dispatcher } from './dispatcher.ts'
import { DispatchSocket, type InternetAddress } from './half.ts'
import type { option } from './native.ts'
import { DispatchDatagrams } from './udp.ts'

const EINVAL = -constants.errno.EINVAL

/** socket, setsockopt, bind. */
export async function bindAt(
  options: BindOptions & { port: number },
  asker: Asker,
): Promise<DispatchDatagrams> {
  const { host, port, ipv6Only } = options
  if (host !== undefined) {
    const [found] = await addressesOf(host)
    asker.signal?.throwIfAborted()
    const { address, family } = found!
    return open({ family: family === 4 ? 'IPv4' : 'IPv6', address, port }, options, asker)
  }
  try {
    return open({ family: 'IPv6', address: '::', port }, options, asker)
  } catch (error) {
    const { code } = error as SocketError
    if (ipv6Only || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw error
    return open({ family: 'IPv4', address: '0.0.0.0', port }, options, asker)
  }
}

function open(at: InternetAddress, options: BindOptions, asker: Asker): DispatchDatagrams {
  const isDual = at.address === '::' && !options.ipv6Only
  const socket = DispatchSocket.open(at, true, 'bind')
  try {
    setBindOptions(socket, at.family, isDual, options)
    socket.bind(at, 'bind')
    return new DispatchDatagrams(socket, isDual, asker)
  } catch (error) {
    void socket.close()
    throw error
  }
}

/** What is set before a socket is bound. @see socket(7), ip(7), ipv6(7) */
function setBindOptions(
  socket: DispatchSocket,
  family: 'IPv4' | 'IPv6',
  isDual: boolean,
  options: BindOptions,
): void {
  const { reuseAddress, broadcast, ttl, multicastTtl, multicastLoopback, multicastInterface } = options
  const set = (name: keyof typeof option, value: number | boolean | undefined) => {
    const result = value === undefined ? 0 : socket.set(name, value)
    if (result < 0) throw socketError(result, 'bind')
  }
  if (family === 'IPv6') set('ipv6Only', !isDual)
  if (reuseAddress) set('reuseUdpAddress', true)
  if (broadcast) set('broadcast', true)
  if (family === 'IPv4') {
    set('ttl', ttl)
    set('multicastTtl', multicastTtl)
    set('multicastLoopback', multicastLoopback)
  } else {
    set('ipv6Ttl', ttl)
    set('ipv6MulticastTtl', multicastTtl)
    set('ipv6MulticastLoopback', multicastLoopback)
  }
  if (isDual) {
    // For its IPv4 too: macOS does not have these for a socket of both families.
    if (ttl !== undefined) socket.set('ttl', ttl)
    if (multicastTtl !== undefined) socket.set('multicastTtl', multicastTtl)
    if (multicastLoopback !== undefined) socket.set('multicastLoopback', multicastLoopback)
  }
  if (multicastInterface !== undefined) setInterface(socket, multicastInterface)
}

function setInterface(socket: DispatchSocket, address: string): void {
  const version = isIP(address)
  const family = version === 4 ? 'IPv4' : 'IPv6'
  const result = version === 0 ? EINVAL : dispatcher().native.setInterface(socket.id, family, address)
  if (result < 0) throw socketError(result, 'setMulticastInterface')
}
