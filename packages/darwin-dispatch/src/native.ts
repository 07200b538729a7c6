import { createRequire } from 'node:module'
import { loadAddon } from '@kiruna/priority/addon'

/** Who closes an fd, as in channels.cc: our File or stream; the lender; the operation that it was made for. */
export const fdOwner = { ours: 0, borrowed: 1, duplicate: 2 } as const
type FdOwner = (typeof fdOwner)[keyof typeof fdOwner]

/** What dispatch.cc exports. Each call begins with its slot and the rank of its caller's priority. */
export interface Native {
  /** @returns 0, or a negative errno */
  setup(onReady: () => void, isMainThread: boolean): number
  ref(): void
  unref(): void
  /** The slot, result and value of each call that is done, one behind the other. */
  take(): (number | Buffer | undefined)[]
  cancel(id: number): void
  address(memory: Uint8Array): number

  /**
   * @param position −1: at the current file offset
   * @param stopsAtFirstBytes for what may have to wait: it takes what there is
   */
  read(
    id: number,
    rank: number,
    fd: number,
    address: number,
    bytes: number,
    position: number,
    owner: FdOwner,
    stopsAtFirstBytes: boolean,
  ): void
  /** @param hasBorrowedFlags a borrowed fd of a pipe, terminal or socket: its flags are restored afterwards */
  write(
    id: number,
    rank: number,
    fd: number,
    address: number,
    bytes: number,
    position: number,
    owner: FdOwner,
    hasBorrowedFlags: boolean,
  ): void
  isReadable(fd: number): boolean
  /** Completes when there is something to read. The result is the fd to read it from. */
  wait(id: number, rank: number, fd: number, owner: FdOwner): void

  open(id: number, rank: number, path: Buffer, flags: number, mode: number, wantsStatus: boolean): void
  close(id: number, rank: number, fd: number): void
  stat(id: number, rank: number, path: Buffer, followsLink: boolean): void
  fstat(id: number, rank: number, fd: number): void
  readdir(id: number, rank: number, path: Buffer): void
  readlink(id: number, rank: number, path: Buffer): void
  rename(id: number, rank: number, from: Buffer, to: Buffer): void
  unlink(id: number, rank: number, path: Buffer): void
  /** @param isFull F_FULLFSYNC: out of the disk's own cache too */
  fsync(id: number, rank: number, fd: number, isFull: boolean): void
  ftruncate(id: number, rank: number, fd: number, lengthBytes: number): void
  fchown(id: number, rank: number, fd: number, uid: number, gid: number): void
  fchmod(id: number, rank: number, fd: number, mode: number): void
}

let native: Native | undefined

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason */
export function loadNative(): Native {
  native ??= loadAddon<Native>(createRequire(import.meta.url), 'dispatch', 'uv_async')
  return native
}
