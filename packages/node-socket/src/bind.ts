import { createSocket, type Socket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { type BindOptions, checkBindOptions } from '@kiruna/net-socket/udp'
import { UdpSocket } from '@kiruna/net-socket/udp-socket'
import { askerOf, type Caller } from '@kiruna/priority'
import { Opening, opener } from './opening.ts'
import { LibuvDatagrams } from './udp.ts'

/**
 * A UDP socket at a port of this machine.
 * @throws EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOTFOUND … (`err.code`); TypeError, RangeError; the signal's reason
 * @see bind(2)
 */
export function bind(target: BindOptions, caller: Caller): Promise<UdpSocket> {
  return new Promise((resolve, reject) => {
    const asker = askerOf(caller)
    const options = checkBindOptions(target)
    const opening = new Opening<UdpSocket>(opener, asker, resolve, reject)
    if (!opening.begin()) return
    bound(options).then(
      socket => {
        if (opening.isDecided) socket.close()
        else opening.succeed(new UdpSocket(new LibuvDatagrams(socket, options.ipv6Only ?? false, asker)))
      },
      error => opening.fail(error),
    )
  })
}

async function bound(options: BindOptions): Promise<Socket> {
  const { host, ipv6Only } = options
  if (host !== undefined) {
    const { address, family } = isIP(host) === 0 ? await lookup(host) : { address: host, family: isIP(host) }
    return boundTo(address, family === 6 ? 'udp6' : 'udp4', options)
  }
  try {
    return await boundTo('::', 'udp6', options)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const hasNoIPv6 = code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' || code === 'EINVAL'
    if (!hasNoIPv6 || ipv6Only) throw error
    return boundTo('0.0.0.0', 'udp4', options)
  }
}

function boundTo(address: string, type: 'udp4' | 'udp6', options: BindOptions): Promise<Socket> {
  const { port, ipv6Only = false, reuseAddress = false } = options
  const socket = createSocket({ type, ipv6Only, reuseAddr: reuseAddress })
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      socket.close()
      reject(error)
    }
    socket.once('error', fail)
    // `exclusive`: a cluster's worker has a socket of its own.
    socket.bind({ port, address, exclusive: true }, () => {
      socket.off('error', fail)
      try {
        setOptions(socket, options)
        resolve(socket)
      } catch (error) {
        fail(error)
      }
    })
  })
}

function setOptions(socket: Socket, options: BindOptions): void {
  const { broadcast, ttl, multicastTtl, multicastLoopback, multicastInterface } = options
  if (broadcast !== undefined) socket.setBroadcast(broadcast)
  if (ttl !== undefined) socket.setTTL(ttl)
  if (multicastTtl !== undefined) socket.setMulticastTTL(multicastTtl)
  if (multicastLoopback !== undefined) socket.setMulticastLoopback(multicastLoopback)
  if (multicastInterface !== undefined) socket.setMulticastInterface(multicastInterface)
}
