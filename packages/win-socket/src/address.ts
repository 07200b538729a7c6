import type { SocketAddress } from '@kiruna/net-socket/address'
import { socketError } from '@kiruna/net-socket/socket-error'
import { port } from '@kiruna/win-iocp/iocp'
import type { Address } from '@kiruna/win-iocp/native'

// winsock2.h
const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 23
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOL_SOCKET = 0xffff
export const SO_EXCLUSIVEADDRUSE = -5
export const IPPROTO_IP = 0
export const IPPROTO_TCP = 6
export const IPPROTO_IPV6 = 41
export const TCP_NODELAY = 1
export const IPV6_V6ONLY = 27

/** An address in the addon's form. */
export function addressFor(at: SocketAddress): Address {
  if (at.family === 'Unix') return [AF_UNIX, at.path, 0]
  return [at.family === 'IPv4' ? AF_INET : AF_INET6, at.address, at.port]
}

/** An address from the addon's form. */
export function addressFrom([family, address, portNumber]: Address): SocketAddress {
  if (family === AF_UNIX) return { family: 'Unix', path: address }
  return { family: family === AF_INET ? 'IPv4' : 'IPv6', address, port: portNumber }
}

/** The address of a socket or of its peer; undefined if it is not connected any more. */
export function nameOf(socket: number, isPeer: boolean): SocketAddress | undefined {
  const name = port().native.socketName(socket, isPeer)
  return typeof name === 'number' ? undefined : addressFrom(name)
}

/**
 * Opens a socket.
 * @returns its number in the addon
 * @throws EMFILE, ENOBUFS; EAFNOSUPPORT: this system has no such family (`err.code`)
 */
export function openSocket(at: SocketAddress, type: number, syscall: string): number {
  return check(port().native.openSocket(addressFor(at)[0], type, false), syscall, at)
}

/** @throws the system's error in node:net's shape, under the name of the function that was called */
export function check(result: number, syscall: string, at?: SocketAddress): number {
  if (result < 0) throw socketError(result, syscall, at)
  return result
}
