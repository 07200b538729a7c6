import { ring } from '@kiruna/linux-uring/ring'
import { addressesOf, type SocketAddress } from '@kiruna/net-socket/address'
import type { SocketError } from '@kiruna/net-socket/socket-error'
import type { BindOptions } from '@kiruna/net-socket/udp'
import { type Asker, rankOf } from '@kiruna/priority'
import { checkResult, openSocket } from './call.ts'
import { familyOf, namesOf, sockaddrOf } from './sockaddr.ts'
import { UringDatagrams } from './udp.ts'
import { setBindOptions } from './udp-options.ts'

const SOCK_DGRAM = 2 // linux/net.h

/** socket, setsockopt, bind. */
export async function bindAt(options: BindOptions & { port: number }, asker: Asker): Promise<UringDatagrams> {
  const { host, port, ipv6Only } = options
  if (host !== undefined) {
    const [found] = await addressesOf(host)
    const { address, family } = found!
    return open({ family: family === 4 ? 'IPv4' : 'IPv6', address, port }, options, asker)
  }
  try {
    return await open({ family: 'IPv6', address: '::', port }, options, asker)
  } catch (error) {
    const { code } = error as SocketError
    if (ipv6Only || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw error
    return open({ family: 'IPv4', address: '0.0.0.0', port }, options, asker)
  }
}

async function open(
  at: SocketAddress & { family: 'IPv4' | 'IPv6' },
  options: BindOptions,
  asker: Asker,
): Promise<UringDatagrams> {
  const rank = rankOf(asker.priority)
  const isDual = at.address === '::' && !options.ipv6Only
  asker.signal?.throwIfAborted()
  const fd = await openSocket(familyOf(at), SOCK_DGRAM, rank, 'bind', at)
  try {
    asker.signal?.throwIfAborted()
    setBindOptions(fd, at.family, isDual, options)
    checkResult(ring().native.bind(fd, sockaddrOf(at)), 'bind', at)
    return new UringDatagrams(fd, namesOf(fd, false) as UringDatagrams['localAddress'], isDual, asker)
  } catch (error) {
    ring().close(fd)
    throw error
  }
}
