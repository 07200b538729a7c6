// What this machine has: the addon, the ring that its kernel sets up, and its mounts.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { release } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import { loadAddon, unavailable } from '@kiruna/priority/addon'
import { systemError } from '@kiruna/priority/error'
import { nowMs, setTimeout } from '@kiruna/priority/timers'

/** What uring.cc exports. */
export interface Native {
  /** How much memory `setup` needs. */
  memoryBytes: number
  /** @param mapped the ring lies in the kernel's memory, not in ours */
  setup(
    memory: ArrayBuffer,
    onReady: () => void,
    isMainThread: boolean,
    mapped: boolean,
  ): NativeRing | NativeFailure
  enter(toSubmit: number): number
  /** The st_dev of an open file, without asking its file system; or a negative errno. */
  device(fd: number): number
  /** Gives one open file another's extended attributes, no more and no less. 0, or a negative errno. */
  copyAttributes(from: number, to: number): number
  address(memory: Uint8Array): number
  /** Returns the length of the address, or a negative errno. */
  getsockname(fd: number, sockaddr: Uint8Array, ofPeer: boolean): number
  // These return 0, or a negative errno.
  bind(fd: number, sockaddr: Uint8Array): number
  listen(fd: number, backlog: number): number
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number
  ref(): void
  unref(): void
}

/** The ring as JavaScript sees it. The numbers are offsets into `rings`: `setup`'s in bytes, `setUp`'s in words. */
export interface NativeRing {
  submissions: Uint32Array
  rings: Int32Array
  /** A bit for each fd that the addon closes when this thread ends. */
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
const ENOMEM = -12
const EINVAL = -22
const EOPNOTSUPP = -95

/**
 * Sets up the ring of this thread, in our memory; before Linux 6.5 in the kernel's.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason
 * @see io_uring_setup(2)
 */
export function setUp(native: Native, onReady: () => void): NativeRing {
  const memory = new ArrayBuffer(native.memoryBytes)
  let ring = native.setup(memory, onReady, isMainThread, false)
  if ('errno' in ring && ring.errno === EINVAL && ring.syscall === 'io_uring_setup')
    ring = native.setup(memory, onReady, isMainThread, true)
  if ('errno' in ring) throw failed(ring)
  const { submissions, rings, owned } = ring
  return {
    submissions,
    rings,
    owned,
    sqHead: ring.sqHead >> 2,
    sqTail: ring.sqTail >> 2,
    sqFlags: ring.sqFlags >> 2,
    sqArray: ring.sqArray >> 2,
    cqHead: ring.cqHead >> 2,
    cqTail: ring.cqTail >> 2,
    cqes: ring.cqes >> 2,
  }
}

function failed({ errno, syscall }: NativeFailure): Error {
  return unavailable(systemError(errno, syscall).message + hint(errno, syscall))
}

/** What a user can do about it. */
function hint(errno: number, syscall: string): string {
  if (errno === EPERM) return ` (${whoForbids()})`
  if (errno === EOPNOTSUPP)
    return ` (Linux before 6.5, this is ${release()}, needs external buffers, and they are forbidden here)`
  if (errno === ENOMEM)
    return ' (each thread has a ring, and RLIMIT_MEMLOCK may allow no more memory: see `ulimit -l`)'
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

/** The pause before mounts are read again, also as a multiple of the time it takes: 10 ms for a thousand mounts. */
const [rereadMs, rereadFactor] = [1000, 1000]

let devices: ReadonlySet<number> = new Set()
let isRecent = false

/**
 * The devices that are FUSE (sshfs, gvfs, AppImage, virtiofs …), as of a second ago. io_uring assumes that a file that
 * can be polled can be tried without waiting, but FUSE ignores IOCB_NOWAIT and waits for its server, on this thread.
 * NFS and 9p have no poll: io_uring leaves them to the kernel's threads by itself.
 * @see proc_pid_mountinfo(5)
 */
export function fuseDevices(): ReadonlySet<number> {
  if (isRecent) return devices
  isRecent = true
  const startMs = nowMs()
  try {
    devices = fuseDevicesIn(readFileSync('/proc/self/mountinfo', 'latin1'))
  } catch {} // no fd left, or no /proc: the last answer is the best guess
  // A timer, not the clock: to read the clock at every open would cost as much as the rest of this.
  setTimeout(expire, Math.max(rereadMs, (nowMs() - startMs) * rereadFactor)).unref()
  return devices
}

function expire(): void {
  isRecent = false
}

/** Their st_devs, from lines such as `36 35 0:52 / /mnt rw,noatime shared:1 - fuse.sshfs host:/ rw,user_id=0`. */
export function fuseDevicesIn(mountinfo: string): Set<number> {
  const numbers = new Set<number>()
  for (const [, major, minor] of mountinfo.matchAll(line))
    numbers.add(deviceNumber(Number(major), Number(minor)))
  return numbers
}

/** A space within a field is written as \040, so the first hyphen that stands alone is the one before the type. */
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
