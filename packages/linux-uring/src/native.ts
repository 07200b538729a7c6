import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { coded } from '@kiruna/priority/error'

/** What uring.cc exports. */
export interface Native {
  /** How much memory `setup` is to be given. */
  memoryBytes: number
  /** @param mapped the ring is in memory of the kernel's, not in ours */
  setup(
    memory: ArrayBuffer,
    onReady: () => void,
    isMainThread: boolean,
    mapped: boolean,
  ): NativeRing | NativeFailure
  enter(toSubmit: number): number
  /** The st_dev of an open file, without asking whoever has it; a negative errno. */
  device(fd: number): number
  address(memory: Uint8Array): number
  /** The length of the name; a negative errno. */
  getsockname(fd: number, sockaddr: Uint8Array, ofPeer: boolean): number
  // 0, or a negative errno.
  bind(fd: number, sockaddr: Uint8Array): number
  listen(fd: number, backlog: number): number
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number
  ref(): void
  unref(): void
}

/** The ring as JavaScript sees it, and in bytes where in `rings` the kernel and it find each other. */
export interface NativeRing {
  submissions: Uint32Array
  rings: Int32Array
  /** A bit for each fd that closes with this thread. */
  owned: Uint32Array
  sqHead: number
  sqTail: number
  sqFlags: number
  sqArray: number
  cqHead: number
  cqTail: number
  cqes: number
}

export interface NativeFailure {
  /** Negative: −1 for EPERM. */
  errno: number
  syscall: string
}

let native: Native | undefined

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason */
export function loadNative(): Native {
  if (native !== undefined) return native
  if (process.platform !== 'linux') throw unavailable(`io_uring is Linux's, this is ${process.platform}`)
  // Bun panics in uv_poll, and under Deno it never wakes: not even load the addon there.
  if (process.versions.bun !== undefined) throw unavailable('Bun has no uv_poll')
  if (process.versions.deno !== undefined) throw unavailable('Deno has no uv_poll')
  const require = createRequire(import.meta.url)
  try {
    native = require('node-gyp-build')(fileURLToPath(new URL('..', import.meta.url))) as Native
    return native
  } catch (error) {
    throw unavailable(`the addon could not be loaded (${(error as Error).message.split('\n')[0]})`)
  }
}

export function unavailable(reason: string): Error {
  return coded(Error, 'ERR_KIRUNA_UNAVAILABLE', reason)
}
