// What this machine has: the addon, the ring that its kernel sets up, and its mounts.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { release } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import { loadAddon, unavailable } from '@kiruna/priority/addon'
import { systemError } from '@kiruna/priority/error'

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

/** The ring as JavaScript sees it, and where in `rings` the kernel and it find each other: of `setup` in bytes. */
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

const EPERM = -1
const EINVAL = -22
const EOPNOTSUPP = -95

/**
 * Sets the ring of this thread up, in memory of ours; before Linux 6.5 in memory of the kernel's.
 * @returns with what `rings` has where as indices
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason
 * @see io_uring_setup(2)
 */
export function setUp(native: Native, onReady: () => void): NativeRing {
  const memory = new ArrayBuffer(native.memoryBytes)
  let ring = native.setup(memory, onReady, isMainThread, false)
  if ('errno' in ring && ring.errno === EINVAL && ring.syscall === 'io_uring_setup')
    ring = native.setup(memory, onReady, isMainThread, true)
  if ('errno' in ring) throw failed(ring)
  const inWords = { ...ring }
  for (const part of ['sqHead', 'sqTail', 'sqFlags', 'sqArray', 'cqHead', 'cqTail', 'cqes'] as const) {
    inWords[part] /= 4
  }
  return inWords
}

function failed({ errno, syscall }: NativeFailure): Error {
  return unavailable(systemError(errno, syscall).message + because(errno, syscall))
}

/** What a user can do about it. */
function because(errno: number, syscall: string): string {
  if (errno === EPERM) return ` (${whoForbids()})`
  if (errno === EOPNOTSUPP)
    return ` (Linux before 6.5, this is ${release()}, needs external buffers, and they are forbidden here)`
  if (errno === EINVAL && syscall !== 'mmap') return ` (Linux 6.0 or later is needed, this is ${release()})`
  return ''
}

function whoForbids(): string {
  try {
    const disabled = readFileSync('/proc/sys/kernel/io_uring_disabled', 'latin1').trim() // from Linux 6.6 on
    if (disabled !== '0') return `sysctl kernel.io_uring_disabled=${disabled}`
  } catch {}
  return 'a seccomp filter forbids it, as a container has it by default'
}

/** No more often, and no more than a thousandth of the time: a thousand mounts take 10 ms to read. */
const [rereadMs, share] = [1000, 1000]

let devices: ReadonlySet<number> = new Set()
let isRecent = false

/**
 * The devices that are FUSE (sshfs, gvfs, AppImage, virtiofs …), as of a second ago. io_uring takes it that what can be
 * polled can be tried without waiting, but FUSE knows no IOCB_NOWAIT and waits for its server, on this thread. NFS and
 * 9p have no poll: those io_uring leaves to the kernel's threads by itself.
 * @see proc_pid_mountinfo(5)
 */
export function fuseDevices(): ReadonlySet<number> {
  if (isRecent) return devices
  isRecent = true
  const startMs = performance.now()
  try {
    devices = fuseDevicesIn(readFileSync('/proc/self/mountinfo', 'latin1'))
  } catch {} // no fd left, or no /proc: what was known is the best guess
  // Not by the clock: asked at every open, that would cost as much as all the rest of this.
  setTimeout(expire, Math.max(rereadMs, (performance.now() - startMs) * share)).unref()
  return devices
}

function expire(): void {
  isRecent = false
}

/** By st_dev, of lines such as `36 35 0:52 / /mnt rw,noatime shared:1 - fuse.sshfs host:/ rw,user_id=0`. */
export function fuseDevicesIn(mountinfo: string): Set<number> {
  const found = new Set<number>()
  for (const [, major, minor] of mountinfo.matchAll(line))
    found.add(deviceNumber(Number(major), Number(minor)))
  return found
}

/** A space within a field is written as \040, so that the first hyphen by itself is the one before the type. */
const line = /^\d+ \d+ (\d+):(\d+) (?:(?!- )\S* )*- (?:fuse|fuse\.\S*|fuseblk|virtiofs) /gm

/** makedev(3) */
export function deviceNumber(major: number, minor: number): number {
  return (
    (major & 0xfff) * 256 +
    (minor & 0xff) +
    Math.floor(minor / 256) * 2 ** 20 +
    Math.floor(major / 4096) * 2 ** 44
  )
}
