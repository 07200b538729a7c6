import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import { loadAddon, unavailable } from '@kiruna/priority/addon'
import { systemError } from '@kiruna/priority/error'

/**
 * What addon.cc exports. `take` returns an operation's result with its slot: a number of bytes, a file's number, or a
 * negative errno. Hold the memory of `bytes` until then.
 */
export interface Native {
  setup(onReady: () => void, isMainThread: boolean): number
  createFile(
    slot: number,
    rank: number,
    path: string,
    access: number,
    disposition: number,
    flags: number,
  ): void
  read(slot: number, rank: number, file: number, bytes: Uint8Array, position: number): void
  write(slot: number, rank: number, file: number, bytes: Uint8Array, position: number): void
  readFd(slot: number, rank: number, fd: number, bytes: Uint8Array): void
  writeFd(slot: number, rank: number, fd: number, bytes: Uint8Array): void
  /** Moves the file offset of an fd back by `lengthBytes`. */
  seekBack(fd: number, lengthBytes: number): void
  flush(slot: number, rank: number, file: number): void
  fileSize(slot: number, rank: number, file: number): void
  setEndOfFile(slot: number, rank: number, file: number, lengthBytes: number): void
  moveFile(slot: number, rank: number, from: string, to: string): void
  close(slot: number, rank: number, file: number): void
  /** Returns false if the call was not found: it may be passing from one thread to another. */
  cancel(slot: number): boolean
  /** Fills in pairs of a slot and its result, and returns how many. */
  take(pairs: Float64Array): number
  /** A descriptor of the same file for node:fs, or a negative errno. */
  descriptor(file: number): number
  isDisk(file: number): boolean
  ref(): void
  unref(): void

  // Sockets have numbers too. An address is [family, address or path, port], with an AF_… for its family.
  acceptSocket(slot: number, rank: number, listener: number, socket: number): void
  connectSocket(
    slot: number,
    rank: number,
    socket: number,
    family: number,
    address: string,
    port: number,
  ): void
  /** Completes when there is something to receive, the end, or an error. */
  waitToReceive(slot: number, rank: number, socket: number): void
  /** Sends `byte`, and completes when there is room again. */
  waitToSend(slot: number, rank: number, socket: number, byte: number): void
  /** @param sender `senderBytes` of memory, held as `bytes` is: see `senderOf` */
  receiveFrom(slot: number, rank: number, socket: number, bytes: Uint8Array, sender: Uint8Array): void
  sendTo(
    slot: number,
    rank: number,
    socket: number,
    bytes: Uint8Array,
    family: number,
    address: string,
    port: number,
  ): void
  // These calls are made at once. They return a negative errno if they fail; EAGAIN: they would have to wait.
  openSocket(family: number, type: number, isToAccept: boolean): number
  bindSocket(socket: number, family: number, address: string, port: number): number
  listenSocket(socket: number, backlog: number): number
  /** To be called when a connection has been accepted with `socket`. */
  accepted(socket: number, listener: number): number
  connected(socket: number): number
  receive(socket: number, memory: Uint8Array): number
  send(socket: number, buffers: readonly Uint8Array[]): number
  shutdownSocket(socket: number): number
  closeSocket(socket: number): number
  setOption(socket: number, level: number, name: number, value: number | Uint8Array): number
  socketName(socket: number, isPeer: boolean): Address | number
  senderOf(sender: Uint8Array): Address
  /** An in_addr; or an in6_addr and in four bytes more the number after its '%'. */
  addressBytes(family: number, address: string): Buffer
}

/** sizeof(struct Sender): a sockaddr_storage and its length. */
export const senderBytes = 136

export type Address = [family: number, address: string, port: number]

/**
 * Loads the addon, and sets up a completion port for this JavaScript thread.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason
 */
export function loadNative(onReady: () => void): Native {
  const native = loadAddon<Native>(createRequire(import.meta.url), 'iocp', 'uv_async')
  const result = native.setup(onReady, isMainThread)
  if (result !== 0) throw unavailable(systemError(result, 'CreateIoCompletionPort').message)
  return native
}
