import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { coded } from '@kiruna/priority/error'

/** Of an fd: as channels.cc has it. A duplicate is closed with the operation that is given it. */
export const whose = { ours: 0, borrowed: 1, duplicate: 2 } as const
export type Whose = (typeof whose)[keyof typeof whose]

/** What dispatch.cc exports. Each call begins with its slot and the rank of its caller's priority. */
export interface Native {
  /** @returns 0, or a negative errno */
  setup(onReady: () => void, isMainThread: boolean): number
  ref(): void
  unref(): void
  /** Slot, result and value of each that is done, one behind the other. */
  take(): (number | Buffer | undefined)[]
  cancel(id: number): void
  address(memory: Uint8Array): number

  /** At `position` −1 where the fd stands. @param stopsAtFirstBytes what may have to wait: it takes what there is */
  read(
    id: number,
    rank: number,
    fd: number,
    address: number,
    bytes: number,
    position: number,
    whose: Whose,
    stopsAtFirstBytes: boolean,
  ): void
  /** @param hasBorrowedFlags it is no file's: they are put back */
  write(
    id: number,
    rank: number,
    fd: number,
    address: number,
    bytes: number,
    position: number,
    whose: Whose,
    hasBorrowedFlags: boolean,
  ): void
  isReadable(fd: number): boolean
  /** Until there is something to read. The result is the fd to read it from. */
  wait(id: number, rank: number, fd: number, whose: Whose): void

  open(id: number, rank: number, path: Buffer, flags: number, mode: number, wantsStatus: boolean): void
  close(id: number, rank: number, fd: number): void
  stat(id: number, rank: number, path: Buffer, followsLink: boolean): void
  fstat(id: number, rank: number, fd: number): void
  readdir(id: number, rank: number, path: Buffer): void
  readlink(id: number, rank: number, path: Buffer): void
  rename(id: number, rank: number, from: Buffer, to: Buffer): void
  unlink(id: number, rank: number, path: Buffer): void
  /** @param isFull on macOS: out of the disk's own cache too */
  fsync(id: number, rank: number, fd: number, isFull: boolean): void
  ftruncate(id: number, rank: number, fd: number, lengthBytes: number): void
  fchown(id: number, rank: number, fd: number, uid: number, gid: number): void
  fchmod(id: number, rank: number, fd: number, mode: number): void
}

let native: Native | undefined

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason */
export function loadNative(): Native {
  if (native !== undefined) return native
  // The tests run on Linux too, where that names swift-corelibs-libdispatch: scripts/dispatch.mjs.
  if (process.platform !== 'darwin' && !process.env.KIRUNA_LIBDISPATCH) {
    throw unavailable(`Grand Central Dispatch is macOS's, this is ${process.platform}`)
  }
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
