import { Stats } from 'node:fs'
import type { Caller } from '@kiruna/priority'
import type { InUse } from '@kiruna/priority/operation'
import { deviceNumber } from './native.ts'
import { RingCall } from './operation.ts'
import type { Ring } from './ring.ts'
import { cString, prepStatx, statxBytes } from './sqe.ts'

// struct statx, linux/stat.h, in the machine's byte order: little-endian wherever Node runs, except on s390x.
const offset = {
  blockSize: 4,
  links: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  inode: 32,
  size: 40,
  blocks: 48,
  accessed: 64,
  born: 80,
  changed: 96,
  modified: 112,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
} as const

/** @param kind 'fstat': the status of `fd`; `path` is for errors only @see statx(2) */
export function statx(
  kind: 'stat' | 'lstat' | 'fstat',
  fd: number,
  path: string | Buffer,
  caller: Caller,
  resolve: (stats: Stats) => void,
  reject: (reason: unknown) => void,
  inUse?: InUse,
): RingCall<Stats> {
  const name = kind === 'fstat' ? undefined : cString(path)
  let status: Buffer
  const prepare = (ring: Ring, call: RingCall<Stats>) => {
    status = Buffer.allocUnsafe(statxBytes)
    prepStatx(ring, ring.sqe(fd, call), name, status, kind !== 'lstat')
  }
  const about = { syscall: kind, path, inUse }
  return new RingCall(about, prepare, () => statsOf(status), caller, resolve, reject)
}

/** The file's length in bytes, from what statx(2) has written. */
export function statxSize(status: Buffer): number {
  return uint64(new DataView(status.buffer, status.byteOffset, status.length), offset.size)
}

/** node:fs's own Stats, from what statx(2) has written. */
export function statsOf(status: Buffer): Stats {
  const view = new DataView(status.buffer, status.byteOffset, status.length)
  const uint32 = (at: number) => view.getUint32(at, littleEndian)
  const [atimeMs, mtimeMs] = [timeMs(view, offset.accessed), timeMs(view, offset.modified)]
  const [ctimeMs, birthtimeMs] = [timeMs(view, offset.changed), timeMs(view, offset.born)]
  // The constructor of Stats is deprecated, so its prototype's methods are put over these fields.
  return Object.assign(Object.create(Stats.prototype) as Stats, {
    dev: deviceNumber(uint32(offset.devMajor), uint32(offset.devMinor)),
    mode: view.getUint16(offset.mode, littleEndian),
    nlink: uint32(offset.links),
    uid: uint32(offset.uid),
    gid: uint32(offset.gid),
    rdev: deviceNumber(uint32(offset.rdevMajor), uint32(offset.rdevMinor)),
    blksize: uint32(offset.blockSize),
    ino: uint64(view, offset.inode),
    size: uint64(view, offset.size),
    blocks: uint64(view, offset.blocks),
    atimeMs,
    mtimeMs,
    ctimeMs,
    birthtimeMs,
    atime: dateOf(atimeMs),
    mtime: dateOf(mtimeMs),
    ctime: dateOf(ctimeMs),
    birthtime: dateOf(birthtimeMs),
  })
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

function uint64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, littleEndian))
}

/** struct statx_timestamp: seconds and nanoseconds, as milliseconds with a fraction. */
function timeMs(view: DataView, at: number): number {
  return Number(view.getBigInt64(at, littleEndian)) * 1000 + view.getUint32(at + 8, littleEndian) / 1e6
}

/** A Date has whole milliseconds: node:fs rounds like this. */
function dateOf(timeMs: number): Date {
  return new Date(Math.round(timeMs))
}
