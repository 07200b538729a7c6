import { ring } from '@kiruna/linux-uring/ring'
import { prepSocket } from '@kiruna/linux-uring/socket-sqe'
import { EINTR } from '@kiruna/linux-uring/sqe'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Call } from '@kiruna/net-socket/call'
import { socketError } from '@kiruna/net-socket/socket-error'
import type { Rank } from '@kiruna/priority'
import { familyOf, longestSockaddrBytes, parseSockaddr } from './sockaddr.ts'

// linux/net.h, linux/socket.h, linux/in.h, linux/in6.h, netinet/tcp.h
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const IPPROTO_IP = 0
export const IPPROTO_TCP = 6
export const TCP_NODELAY = 1
export const IPPROTO_IPV6 = 41
export const IPV6_V6ONLY = 26

/**
 * Opens a socket, close-on-exec.
 * @param syscall the name of the function that was called, for errors
 * @returns its fd
 * @throws EMFILE, ENOBUFS; EAFNOSUPPORT: this system has no such family (`err.code`)
 * @see io_uring_prep_socket(3), socket(2)
 */
export async function openSocket(
  at: SocketAddress,
  type: number,
  rank: Rank,
  syscall: string,
): Promise<number> {
  for (;;) {
    const call = new Call(call => {
      const to = ring()
      prepSocket(to, to.sqe(familyOf(at), call, true), type)
      to.submitWithTurn(rank)
    })
    const result = await call.result
    if (result !== EINTR) return check(result, syscall, at)
  }
}

/** @see io_uring_prep_close(3), close(2) */
export function closeSocket(fd: number): Promise<number> {
  return new Call(call => ring().close(fd, call)).result
}

/** @param value a number, or a structure. @returns 0, or a negative errno. @see setsockopt(2) */
export function setsockopt(fd: number, level: number, name: number, value: number | Buffer): number {
  const bytes = typeof value === 'number' ? new Uint8Array(Int32Array.of(value).buffer) : value
  return ring().native.setsockopt(fd, level, name, bytes)
}

/** The address of a socket or its peer; undefined: no longer connected. @see getsockname(2), getpeername(2) */
export function getsockname(fd: number, ofPeer: boolean): SocketAddress | undefined {
  const sockaddr = Buffer.alloc(longestSockaddrBytes)
  const length = ring().native.getsockname(fd, sockaddr, ofPeer)
  return length < 0 ? undefined : parseSockaddr(sockaddr.subarray(0, length))
}

/** The address of a socket of ours. @throws ENOBUFS … (`err.code`) @see getsockname(2) */
export function nameOf(fd: number, syscall: string): SocketAddress {
  const sockaddr = Buffer.alloc(longestSockaddrBytes)
  const length = check(ring().native.getsockname(fd, sockaddr, false), syscall)
  return parseSockaddr(sockaddr.subarray(0, length))!
}

/** @throws the kernel's error in node:net's shape, under the name of the function that was called */
export function check(result: number, syscall: string, at?: SocketAddress): number {
  if (result < 0) throw socketError(result, syscall, at)
  return result
}
