import { lookup } from 'node:dns'
import { unlink } from 'node:fs/promises'
import { isIP } from 'node:net'

/** An address of IPv4 or IPv6. */
export interface InternetAddress {
  readonly family: 'IPv4' | 'IPv6'
  readonly address: string
  readonly port: number
}

/** The address of a socket or of its peer, as the OS tells it. A path that begins with '\0' is abstract. */
export type SocketAddress = InternetAddress | { readonly family: 'Unix'; readonly path: string }

/**
 * The addresses of a host, in the order in which to try them.
 * @throws ENOTFOUND, EAI_AGAIN … (`err.code`), as node:dns has it
 * @see getaddrinfo(3)
 */
export function addressesOf(host: string, port: number): Promise<InternetAddress[]> {
  if (isIP(host) !== 0) return Promise.resolve([internetAddress(host, port)])
  return new Promise((resolve, reject) => {
    lookup(host, { all: true }, (error, addresses) => {
      if (error) reject(error)
      else resolve(addresses.map(({ address }) => internetAddress(address, port)))
    })
  })
}

export function internetAddress(address: string, port: number): InternetAddress {
  return { family: address.includes(':') ? 'IPv6' : 'IPv4', address, port }
}

/** Removes the path of a Unix-domain socket, if it is still there. An abstract name ends with its socket. */
export async function removePath(at: SocketAddress): Promise<void> {
  if (at.family === 'Unix' && !at.path.startsWith('\0')) await unlink(at.path).catch(() => {})
}
