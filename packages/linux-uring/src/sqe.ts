import { type Rank, rankOf } from '@kiruna/priority'
import { fuseDevices } from './fuse.ts'
import type { RingOperation } from './operation.ts'

// linux/io_uring.h
const IORING_OP_FSYNC = 3
const IORING_OP_POLL_ADD = 6
const IORING_OP_SYNC_FILE_RANGE = 8
const IORING_OP_OPENAT = 18
const IORING_OP_CLOSE = 19
const IORING_OP_STATX = 21
const IORING_OP_READ = 22
const IORING_OP_WRITE = 23
const IORING_OP_FADVISE = 24
const IORING_OP_RENAMEAT = 35
const IORING_OP_UNLINKAT = 36
const IORING_OP_FTRUNCATE = 55
const IOSQE_ASYNC = 1 << 4

/** The completion's submission is still there: more follow. */
export const IORING_CQE_F_MORE = 2
/** There is more to be received. */
export const IORING_CQE_F_SOCK_NONEMPTY = 4

// linux/fcntl.h, linux/stat.h
const AT_FDCWD = -100
const POSIX_FADV_NORMAL = 0
const POSIX_FADV_RANDOM = 1
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_EMPTY_PATH = 0x1000
const O_CLOEXEC = 0o2000000
const SYNC_FILE_RANGE_WRITE_AND_WAIT = 7
const STATX_BASIC_STATS_AND_BTIME = 0xfff
export const statxBytes = 256

export const EINTR = -4
export const EIO = -5
export const ENXIO = -6
export const EAGAIN = -11
export const EINVAL = -22
export const EOPNOTSUPP = -95

/**
 * What hits the page cache is copied on this thread, within enter: so much at most in one call. Large reads are left to
 * the kernel's own threads, which costs a turn of the event loop: so the first of a batch that are urgent are not.
 */
export const inlineBytes = 256 * 1024
export const largeReadBytes = 64 * 1024
/** In the upper word of user_data: the result is a new fd. uring.cc closes it if nobody is left to take it. */
export const resultIsFd = 0x8000_0000
/** And this: the rest is the fd that is closed. uring.cc closes it if the kernel was kept from it. */
const closesFd = 0x4000_0000

/** A RingOperation, whatever its value. */
export type AnyOperation = Completion &
  Pick<RingOperation<unknown>, 'asker' | 'laneRank' | 'deliveredRank' | 'deliver'>

/** Takes one completion. It is held, and with it its buffer, until the kernel is done. */
export interface Completion {
  /** @internal where the ring keeps it while the kernel has it, −1 otherwise */
  slot: number
  /** @internal what it waits for does not keep the process alive */
  isUnref?: boolean
  /**
   * @param result as the system call returns it, or a negative errno
   * @param flags IORING_CQE_F_…: with IORING_CQE_F_MORE another completion of the same submission follows
   */
  complete(result: number, flags: number): void
}

/** Each fills one submission, as the functions of liburing do, and leaves it to the ring. */
export abstract class SystemCalls {
  /** The submissions that the kernel has not been given yet. */
  protected abstract staged: Uint32Array
  /** What the reads and writes among them may copy on this thread. */
  protected inlineBytes = 0
  /** The fds that must not be tried on this thread: see fuseDevices. */
  readonly onFuse = new Set<number>()

  /** Returns the index in `staged` of a cleared submission. */
  protected abstract stage(
    opcodeAndFlags: number,
    fd: number,
    completion: Completion | undefined,
    high?: number,
  ): number

  /** What is staged goes down at the end of this tick, or of this turn of the event loop. */
  abstract flushSoon(rank: Rank): void

  /** How much of what is staged there is copied on this thread, should it be cached. */
  protected copiedBytes(sqe: number): number {
    const opcodeAndFlags = this.staged[sqe]!
    const isCopy = opcodeAndFlags === IORING_OP_READ || opcodeAndFlags === IORING_OP_WRITE
    return isCopy ? this.staged[sqe + 6]! : 0
  }

  /** The flag for what would hold up this thread: FUSE, and a copy that is too large. */
  #punt(fd: number, lengthBytes: number, operation: AnyOperation): number {
    if (this.onFuse.has(fd)) return IOSQE_ASYNC << 8
    this.inlineBytes += lengthBytes
    const isPunted =
      lengthBytes >= largeReadBytes && (operation.laneRank > 1 || this.inlineBytes > inlineBytes)
    return isPunted ? IOSQE_ASYNC << 8 : 0
  }

  /** Where the kernel finds the buffer: valid as long as the buffer is held. */
  abstract addressOf(buffer: NodeJS.ArrayBufferView): number

  /**
   * Reads from `fd` at `offsetBytes` into memory at `address`: one SQE, one CQE.
   * Completes with the bytes read; fewer than asked is normal, 0 is the end of the file.
   * @see io_uring_prep_read(3), pread(2)
   */
  read(fd: number, address: number, lengthBytes: number, offsetBytes: number, operation: AnyOperation): void {
    const sqe = this.stage(IORING_OP_READ | this.#punt(fd, lengthBytes, operation), fd, operation)
    const words = this.staged
    words[sqe + 2] = offsetBytes
    words[sqe + 3] = offsetBytes / 2 ** 32
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * Completes when `fd` is ready for `events`, or hangs up. Cancelled, it has taken nothing from anybody.
   * @see io_uring_prep_poll_add(3), poll(2)
   */
  poll(fd: number, events: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_POLL_ADD, fd, completion)
    this.staged[sqe + 7] = events
    this.flushSoon(rank)
  }

  /**
   * Reads from `fd` where it stands: its file position, or what a pipe holds.
   * @param flags RWF_NOWAIT: EAGAIN instead of waiting; EOPNOTSUPP where the file has no such thing
   * @param isPunted a thread of the kernel does it, at once
   * @see io_uring_prep_read(3) with an offset of −1, preadv2(2)
   */
  readOn(
    fd: number,
    address: number,
    lengthBytes: number,
    flags: number,
    isPunted: boolean,
    operation: AnyOperation,
  ): void {
    const sqe = this.stage(IORING_OP_READ | (isPunted ? IOSQE_ASYNC << 8 : 0), fd, operation)
    const words = this.staged
    words[sqe + 2] = words[sqe + 3] = 0xffff_ffff
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.flushSoon(rankOf(operation.asker.priority))
  }

  /**
   * Writes to `fd` where it stands: its file position, its end with O_APPEND, or a pipe.
   * @param flags as for `readOn`
   * @see io_uring_prep_write(3) with an offset of −1, pwritev2(2)
   */
  writeOn(
    fd: number,
    address: number,
    lengthBytes: number,
    flags: number,
    isPunted: boolean,
    operation: AnyOperation,
  ): void {
    const sqe = this.stage(IORING_OP_WRITE | (isPunted ? IOSQE_ASYNC << 8 : 0), fd, operation)
    const words = this.staged
    words[sqe + 2] = words[sqe + 3] = 0xffff_ffff
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.flushSoon(rankOf(operation.asker.priority))
  }

  /**
   * Writes memory at `address` to `fd` at `offsetBytes`, −1: where the descriptor stands. One SQE, one CQE.
   * Completes with the bytes written; fewer than asked is normal where the disk is full or a signal came.
   * @see io_uring_prep_write(3), pwrite(2)
   */
  write(
    fd: number,
    address: number,
    lengthBytes: number,
    offsetBytes: number,
    operation: AnyOperation,
  ): void {
    const sqe = this.stage(IORING_OP_WRITE | this.#punt(fd, lengthBytes, operation), fd, operation)
    const words = this.staged
    words[sqe + 2] = offsetBytes
    words[sqe + 3] = Math.floor(offsetBytes / 2 ** 32)
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * Whether the kernel reads ahead on `fd`, beyond what it is asked for. It is told before it is given what is staged
   * later, and does not answer.
   * @see io_uring_prep_fadvise(3), posix_fadvise(2)
   */
  fadvise(fd: number, readsAhead: boolean): void {
    const sqe = this.stage(IORING_OP_FADVISE, fd, undefined)
    this.staged[sqe + 7] = readsAhead ? POSIX_FADV_NORMAL : POSIX_FADV_RANDOM
  }

  /** @see io_uring_prep_fsync(3), fsync(2) */
  fsync(fd: number, operation: AnyOperation): void {
    this.stage(IORING_OP_FSYNC, fd, operation)
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * Hands what is dirty there to the disk, and waits for it; no more than that is promised.
   * @see io_uring_prep_sync_file_range(3), sync_file_range(2)
   */
  syncFileRange(fd: number, offsetBytes: number, lengthBytes: number, operation: AnyOperation): void {
    const sqe = this.stage(IORING_OP_SYNC_FILE_RANGE, fd, operation)
    const words = this.staged
    words[sqe + 2] = offsetBytes
    words[sqe + 3] = offsetBytes / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = SYNC_FILE_RANGE_WRITE_AND_WAIT
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * Completes with −EINVAL before Linux 6.9, and where ftruncate(2) says so too.
   * @see io_uring_prep_ftruncate(3), ftruncate(2)
   */
  ftruncate(fd: number, lengthBytes: number, operation: AnyOperation): void {
    const sqe = this.stage(IORING_OP_FTRUNCATE, fd, operation)
    this.staged[sqe + 2] = lengthBytes
    this.staged[sqe + 3] = lengthBytes / 2 ** 32
    this.flushSoon(operation.laneRank as Rank)
  }

  /** @see io_uring_prep_renameat(3), rename(2) */
  renameat(from: Buffer, to: Buffer, operation: AnyOperation): void {
    const [fromAddress, toAddress] = [this.addressOf(from), this.addressOf(to)]
    const sqe = this.stage(IORING_OP_RENAMEAT, AT_FDCWD, operation)
    const words = this.staged
    words[sqe + 2] = toAddress
    words[sqe + 3] = toAddress / 2 ** 32
    words[sqe + 4] = fromAddress
    words[sqe + 5] = fromAddress / 2 ** 32
    words[sqe + 6] = AT_FDCWD
    this.flushSoon(operation.laneRank as Rank)
  }

  /** @see io_uring_prep_unlinkat(3), unlink(2) */
  unlinkat(path: Buffer, operation: AnyOperation): void {
    const address = this.addressOf(path)
    const sqe = this.stage(IORING_OP_UNLINKAT, AT_FDCWD, operation)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * Completes with a new fd, close-on-exec. The kernel has copied the path by the time the submission is taken.
   * @param mayWait left to a thread of the kernel's: otherwise it is tried without waiting first
   * @see io_uring_prep_openat(3), open(2)
   */
  openat(path: Buffer, flags: number, mode: number, operation: AnyOperation, mayWait = false): void {
    const address = this.addressOf(path)
    const isPunted = mayWait || fuseDevices().size > 0 ? IOSQE_ASYNC << 8 : 0
    const sqe = this.stage(IORING_OP_OPENAT | isPunted, AT_FDCWD, operation, resultIsFd)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = mode
    words[sqe + 7] = flags | O_CLOEXEC
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * The status of `path`, or of `fd` where there is no path, into the `statxBytes` at `status`.
   * @param follow of a symbolic link, what it points to
   * @see io_uring_prep_statx(3), statx(2)
   */
  statx(fd: number, path: Buffer | undefined, status: Buffer, operation: AnyOperation, follow = true): void {
    const [pathAddress, statusAddress] = [this.addressOf(path ?? emptyPath), this.addressOf(status)]
    const sqe = this.stage(IORING_OP_STATX, path === undefined ? fd : AT_FDCWD, operation)
    const words = this.staged
    words[sqe + 2] = statusAddress
    words[sqe + 3] = statusAddress / 2 ** 32
    words[sqe + 4] = pathAddress
    words[sqe + 5] = pathAddress / 2 ** 32
    words[sqe + 6] = STATX_BASIC_STATS_AND_BTIME
    words[sqe + 7] = (path === undefined ? AT_EMPTY_PATH : 0) | (follow ? 0 : AT_SYMLINK_NOFOLLOW)
    this.flushSoon(operation.laneRank as Rank)
  }

  /**
   * Closes `fd`. Without a completion nobody waits for it.
   * @see io_uring_prep_close(3), close(2)
   */
  close(fd: number, completion?: Completion): void {
    const sqe = this.stage(IORING_OP_CLOSE, fd, completion)
    this.staged[sqe + 9] = closesFd | fd
    this.flushSoon(completion === undefined ? 3 : 1)
  }
}

/** A path as the kernel takes it: a C string. */
export function cString(path: string | Buffer): Buffer {
  return typeof path === 'string' ? Buffer.from(`${path}\0`) : Buffer.concat([path, emptyPath])
}

const emptyPath = Buffer.from('\0')
