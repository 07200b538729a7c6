import { addressesOf, type SocketAddress } from '@kiruna/net-socket/address'
import type { SocketError } from '@kiruna/net-socket/socket-error'
import type { BindOptions } from '@kiruna/net-socket/udp'
import type { Asker } from '@kiruna/priority'
import { port } from '@kiruna/win-iocp/iocp'
import { addressFor, check, nameOf, openSocket, SOCK_DGRAM } from './address.ts'
import { IocpDatagrams } from './udp.ts'
import { setBindOptions } from './udp-options.ts'

/** WSASocket, setsockopt, bind. */
export async function bindAt(options: BindOptions & { port: number }, asker: Asker): Promise<IocpDatagrams> {
  const { host, port, ipv6Only } = options
  if (host !== undefined) {
    const [found] = await addressesOf(host)
    asker.signal?.throwIfAborted()
    const { address, family } = found!
    return open({ family: family === 4 ? 'IPv4' : 'IPv6', address, port }, options, asker)
  }
  asker.signal?.throwIfAborted()
  try {
    return open({ family: 'IPv6', address: '::', port }, options, asker)
  } catch (error) {
    const { code } = error as SocketError
    if (ipv6Only || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw error
    return open({ family: 'IPv4', address: '0.0.0.0', port }, options, asker)
  }
}

function open(
  at: SocketAddress & { family: 'IPv4' | 'IPv6' },
  options: BindOptions,
  asker: Asker,
): IocpDatagrams {
  const isDual = at.address === '::' && !options.ipv6Only
  const { native } = port()
  const socket = openSocket(at, SOCK_DGRAM, 'bind')
  try {
    setBindOptions(socket, at.family, isDual, options)
    check(native.bindSocket(socket, ...addressFor(at)), 'bind', at)
    return new IocpDatagrams(socket, nameOf(socket, false) as IocpDatagrams['localAddress'], isDual, asker)
  } catch (error) {
    native.closeSocket(socket)
    throw error
  }
}
