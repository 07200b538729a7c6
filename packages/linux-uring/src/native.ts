import { createRequire } from 'node:module'
import { loadAddon } from '@kiruna/priority/addon'

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
  native ??= loadAddon<Native>(createRequire(import.meta.url), 'uring', 'uv_poll')
  return native
}
