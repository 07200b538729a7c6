import { createRequire } from 'node:module'
import type { SocketAddress } from '@kiruna/net-socket/address'
import type { Rank } from '@kiruna/priority'
import { loadAddon } from '@kiruna/priority/addon'

// The same as in dispatch.h.
export const readDirection = 0
export const writeDirection = 1
export const closedDirection = 2

/** A call is made first on this thread, */
export const here = 0
/** on a queue, where it does not wait (−EAGAIN is a result), */
export const onQueue = 1
/** or in the handler of a source that has waited until it is ready. */
export const afterWaiting = 2
export type How = 0 | 1 | 2

/** The same as in the table in sockets.cc. */
export const option = {
  noDelay: 0,
  keepAlive: 1,
  keepAliveSeconds: 2,
  reuseAddress: 3,
  reuseUdpAddress: 4,
  ipv6Only: 5,
  broadcast: 6,
  ttl: 7,
  multicastTtl: 8,
  multicastLoopback: 9,
  ipv6Ttl: 10,
  ipv6MulticastTtl: 11,
  ipv6MulticastLoopback: 12,
} as const

type Family = SocketAddress['family']

/** What a call returns: a result, or a negative errno; undefined: its completion follows. */
export type Begun = number | undefined

/** What dispatch.cc exports. A socket is a number; one call at a time in each of its directions. */
export interface Native {
  /** @returns 0, or a negative errno */
  setup(onReady: () => void, isMainThread: boolean): number
  ref(): void
  unref(): void
  /** Fills in the key and the result of each call that is done. @returns how many; a key is socket * 4 + direction */
  take(into: Int32Array): number

  /** @returns a socket, or a negative errno */
  socket(family: Family, isDatagram: boolean): number
  /** A completion says when it is closed; `forget` frees its number. */
  close(socket: number): void
  forget(socket: number): void
  bind(socket: number, family: Family, address: string, port: number): number
  listen(socket: number, backlog: number): number
  shutdown(socket: number): number
  name(socket: number, ofPeer: boolean): SocketAddress | undefined
  /** The sender of the last datagram. */
  sender(socket: number): SocketAddress | undefined
  setsockopt(socket: number, option: number, value: number): number
  changeMembership(socket: number, isJoining: boolean, family: Family, group: string, at: string): number
  setInterface(socket: number, family: Family, address: string): number

  wait(socket: number, rank: Rank): Begun
  receive(socket: number, rank: Rank, memory: Uint8Array, how: How): Begun
  receiveFrom(socket: number, rank: Rank, memory: Uint8Array): Begun
  send(socket: number, rank: Rank, buffers: Uint8Array[], how: How): Begun
  sendTo(socket: number, rank: Rank, bytes: Uint8Array, family: Family, address: string, port: number): Begun
  connect(socket: number, rank: Rank, family: Family, address: string, port: number): Begun
  /** Completes with the number of new sockets, which `accepted` returns. */
  accept(socket: number, rank: Rank): Begun
  accepted(socket: number): number[]
  /** @returns whether it was cancelled; if not, the completion follows */
  cancel(socket: number, direction: number): boolean
  /** Tries the read under way on this thread. */
  hurry(socket: number): void
  setRank(socket: number, direction: number, rank: Rank): void
}

let native: Native | undefined

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason */
export function loadNative(): Native {
  native ??= loadAddon<Native>(createRequire(import.meta.url), 'dispatch', 'uv_async')
  return native
}
