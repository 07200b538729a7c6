import { type Rank, rankOf } from '@kiruna/priority'
import { fuseDevices } from './mounts.ts'
import type { RingOperation } from './ring-operation.ts'

// linux/io_uring.h
const IORING_OP_FSYNC = 3
const IORING_OP_POLL_ADD = 6
const IORING_OP_SYNC_FILE_RANGE = 8
const IORING_OP_SENDMSG = 9
const IORING_OP_RECVMSG = 10
const IORING_OP_ACCEPT = 13
const IORING_OP_CONNECT = 16
const IORING_OP_OPENAT = 18
const IORING_OP_CLOSE = 19
const IORING_OP_STATX = 21
const IORING_OP_READ = 22
const IORING_OP_WRITE = 23
const IORING_OP_FADVISE = 24
const IORING_OP_SEND = 26
const IORING_OP_RECV = 27
const IORING_OP_SHUTDOWN = 34
const IORING_OP_RENAMEAT = 35
const IORING_OP_UNLINKAT = 36
const IORING_OP_SOCKET = 45
const IORING_OP_URING_CMD = 46
const IORING_OP_FTRUNCATE = 55
const IORING_OP_BIND = 56
const IORING_OP_LISTEN = 57
const IOSQE_ASYNC = 1 << 4
const IORING_ACCEPT_MULTISHOT = 1
const IORING_RECVSEND_POLL_FIRST = 1
const SOCKET_URING_OP_SETSOCKOPT = 3

/** What a socket listens and connects with; Linux 6.11 has the last of them. */
export const socketOpcodes = {
  IORING_OP_ACCEPT,
  IORING_OP_CONNECT,
  IORING_OP_SEND,
  IORING_OP_RECV,
  IORING_OP_SHUTDOWN,
  IORING_OP_SOCKET,
  IORING_OP_URING_CMD,
  IORING_OP_BIND,
  IORING_OP_LISTEN,
}
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
const SOCK_CLOEXEC = O_CLOEXEC // sys/socket.h
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
const resultIsFd = 0x8000_0000
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
   * Completes with a new fd, close-on-exec.
   * @see io_uring_prep_socket(3), socket(2)
   */
  socket(family: number, type: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_SOCKET, family, completion, resultIsFd)
    this.staged[sqe + 2] = type | SOCK_CLOEXEC
    this.flushSoon(rank)
  }

  /** @see io_uring_prep_bind(3), bind(2) */
  bind(fd: number, sockaddr: Buffer, completion: Completion, rank: Rank): void {
    this.#withSockaddr(IORING_OP_BIND, fd, sockaddr, completion)
    this.flushSoon(rank)
  }

  /** @see io_uring_prep_listen(3), listen(2) */
  listen(fd: number, backlog: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_LISTEN, fd, completion)
    this.staged[sqe + 6] = backlog
    this.flushSoon(rank)
  }

  /** @see io_uring_prep_connect(3), connect(2) */
  connect(fd: number, sockaddr: Buffer, completion: Completion, rank: Rank): void {
    this.#withSockaddr(IORING_OP_CONNECT, fd, sockaddr, completion)
    this.flushSoon(rank)
  }

  #withSockaddr(opcode: number, fd: number, sockaddr: Buffer, completion: Completion): void {
    const address = this.addressOf(sockaddr)
    const sqe = this.stage(opcode, fd, completion)
    const words = this.staged
    words[sqe + 2] = sockaddr.length
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
  }

  /**
   * Completes with a new fd, close-on-exec, for each connection that comes, until it is cancelled or one fails.
   * @see io_uring_prep_multishot_accept(3), accept4(2)
   */
  accept(fd: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_ACCEPT | (IORING_ACCEPT_MULTISHOT << 16), fd, completion, resultIsFd)
    this.staged[sqe + 7] = SOCK_CLOEXEC
    this.flushSoon(rank)
  }

  /**
   * Receives into memory at `address`. Completes with the bytes received, 0 is the end.
   * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
   * @param pollFirst nothing is there yet: it waits without looking first
   * @see io_uring_prep_recv(3), recv(2)
   */
  recv(
    fd: number,
    address: number,
    lengthBytes: number,
    flags: number,
    pollFirst: boolean,
    completion: Completion,
    rank: Rank,
  ): void {
    const sqe = this.stage(
      IORING_OP_RECV | (pollFirst ? IORING_RECVSEND_POLL_FIRST << 16 : 0),
      fd,
      completion,
    )
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.flushSoon(rank)
  }

  /**
   * Sends memory at `address`. Completes with the bytes that the kernel has taken.
   * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
   * @see io_uring_prep_send(3), send(2)
   */
  send(
    fd: number,
    address: number,
    lengthBytes: number,
    flags: number,
    completion: Completion,
    rank: Rank,
  ): void {
    const sqe = this.stage(IORING_OP_SEND, fd, completion)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.flushSoon(rank)
  }

  /**
   * Sends what a struct msghdr at `address` lists. The kernel has read that when the submission is taken.
   * @see io_uring_prep_sendmsg(3), sendmsg(2)
   */
  sendmsg(fd: number, address: number, flags: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_SENDMSG, fd, completion)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = 1
    words[sqe + 7] = flags
    this.flushSoon(rank)
  }

  /**
   * Receives into what a struct msghdr at `address` lists, and its sender's address: the struct is written to as well.
   * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
   * @see io_uring_prep_recvmsg(3), recvmsg(2)
   */
  recvmsg(fd: number, address: number, flags: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_RECVMSG, fd, completion)
    const words = this.staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = 1
    words[sqe + 7] = flags
    this.flushSoon(rank)
  }

  /** @see io_uring_prep_shutdown(3), shutdown(2) */
  shutdown(fd: number, how: number, completion: Completion, rank: Rank): void {
    const sqe = this.stage(IORING_OP_SHUTDOWN, fd, completion)
    this.staged[sqe + 6] = how
    this.flushSoon(rank)
  }

  /**
   * Sets an option, before whatever is staged after it.
   * @param value a number, or a structure, which the completion has to hold
   * @see io_uring_prep_cmd_sock(3), setsockopt(2)
   */
  setsockopt(
    fd: number,
    level: number,
    name: number,
    value: number | Buffer,
    completion: Completion,
    rank: Rank,
  ): void {
    const memory = typeof value === 'number' ? optionOf(value) : value
    const address = this.addressOf(memory)
    const sqe = this.stage(IORING_OP_URING_CMD, fd, completion)
    const words = this.staged
    words[sqe + 2] = SOCKET_URING_OP_SETSOCKOPT
    words[sqe + 4] = level
    words[sqe + 5] = name
    words[sqe + 11] = memory.byteLength
    words[sqe + 12] = address
    words[sqe + 13] = address / 2 ** 32
    this.flushSoon(rank)
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

/** Never written again: the kernel may read it at any time. */
const options = new Map<number, Int32Array>()

function optionOf(value: number): Int32Array {
  let memory = options.get(value)
  if (memory === undefined) options.set(value, (memory = new Int32Array([value])))
  return memory
}

const emptyPath = Buffer.from('\0')
