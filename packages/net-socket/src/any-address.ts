import type { Asker } from '@kiruna/priority'
import { addressesOf, type InternetAddress } from './address.ts'
import type { SocketError } from './socket-error.ts'

interface Wanted {
  port: number
  host?: string | undefined
  ipv6Only?: boolean | undefined
  asker: Asker
}

/** Errors that mean that there is no IPv6 here. EINVAL is libuv's. */
const withoutIPv6 = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']

/**
 * Opens a socket at a host's first address. Without a host: at `::`, which is for both families, or at `0.0.0.0` if
 * there is no IPv6.
 * @param open makes the system calls
 * @throws ENOTFOUND … (`err.code`); the signal's reason; what `open` throws
 */
export async function openAtAddress<T>(
  { port, host, ipv6Only, asker }: Wanted,
  open: (at: InternetAddress) => T | Promise<T>,
): Promise<T> {
  if (host !== undefined) {
    const [first] = await addressesOf(host, port, asker)
    asker.signal?.throwIfAborted()
    return await open(first!)
  }
  try {
    return await open({ family: 'IPv6', address: '::', port })
  } catch (error) {
    if (ipv6Only || !withoutIPv6.includes((error as SocketError).code)) throw error
    return await open({ family: 'IPv4', address: '0.0.0.0', port })
  }
}
