// What liburing's io_uring_prep_… functions do: each fills one submission. `sqe` is where it begins in `words`, as
// `ring.sqe()` returns it: cleared, except for its fd and its user_data.

// struct io_uring_sqe in words of 32 bits, linux/io_uring.h. OPCODE also holds the flags in its second byte and ioprio
// in its upper half.
const OPCODE = 0
const OFF = 2
const ADDR = 4
const LEN = 6
const OP_FLAGS = 7
const USER_DATA_HIGH = 9

// linux/io_uring.h
const IORING_OP_FSYNC = 3
const IORING_OP_POLL_ADD = 6
const IORING_OP_SYNC_FILE_RANGE = 8
const IORING_OP_SENDMSG = 9
const IORING_OP_RECVMSG = 10
const IORING_OP_ACCEPT = 13
const IORING_OP_ASYNC_CANCEL = 14
const IORING_OP_CONNECT = 16
const IORING_OP_FALLOCATE = 17
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
const IORING_OP_FTRUNCATE = 55
const IOSQE_ASYNC = 1 << 4
const IORING_RECVSEND_POLL_FIRST = 1

/** The submission stays: more completions follow. */
export const IORING_CQE_F_MORE = 2
/** There is more to receive. */
export const IORING_CQE_F_SOCK_NONEMPTY = 4

// linux/fcntl.h, linux/stat.h, sys/socket.h
export const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_EMPTY_PATH = 0x1000
const O_CLOEXEC = 0o2000000
const SOCK_CLOEXEC = 0o2000000
const POSIX_FADV_NORMAL = 0
const POSIX_FADV_RANDOM = 1
const SYNC_FILE_RANGE_WRITE_AND_WAIT = 7
const STATX_BASIC_STATS_AND_BTIME = 0xfff
export const statxBytes = 256

export const ENOENT = -2
export const EINTR = -4
export const EIO = -5
export const ENXIO = -6
export const EAGAIN = -11
export const EINVAL = -22
export const EOPNOTSUPP = -95

/** In the upper word of user_data, with the fd: it is a close. uring.cc closes the fd if the close is cancelled. */
const closesFd = 0x4000_0000

/** Takes a completion. The ring holds it, and with it its buffer, until the kernel is done. */
export interface Completion {
  /** @internal its index in the ring while it is in flight, −1 otherwise */
  slot: number
  /** @internal what it waits for does not keep the process alive */
  isUnref?: boolean
  /**
   * @param result as the system call returns it, or a negative errno
   * @param flags IORING_CQE_F_MORE: another completion of the same submission follows
   */
  complete(result: number, flags: number): void
}

/** Submissions that the kernel has not been given yet. */
export interface Submissions {
  /** `ring.sqe()` may replace it. */
  words: Uint32Array
  /** Where the kernel finds the buffer: valid as long as the buffer is held. */
  addressOf(buffer: NodeJS.ArrayBufferView): number
}

/** Writes a number of up to 53 bits, or −1, as 64 bits. */
function set64(words: Uint32Array, at: number, value: number): void {
  words[at] = value
  words[at + 1] = value < 0 ? value : value / 2 ** 32
}

function prepMemory(
  { words }: Submissions,
  sqe: number,
  opcode: number,
  address: number,
  bytes: number,
): void {
  words[sqe + OPCODE] = opcode
  // Not by set64: an address is never negative, and each read and write asks here.
  words[sqe + ADDR] = address
  words[sqe + ADDR + 1] = address / 2 ** 32
  words[sqe + LEN] = bytes
}

/** A kernel thread does it, without a try on this one. @see io_uring_sqe_set_flags(3) */
export function punt({ words }: Submissions, sqe: number): void {
  words[sqe + OPCODE]! |= IOSQE_ASYNC << 8
}

/** How much a read or a write may copy on this thread, within enter. */
export function inlineBytesOf({ words }: Submissions, sqe: number): number {
  const opcode = words[sqe + OPCODE]
  return opcode === IORING_OP_READ || opcode === IORING_OP_WRITE ? words[sqe + LEN]! : 0
}

/** @param slot @param high the two words of user_data of the submission to cancel @see io_uring_prep_cancel(3) */
export function prepCancel({ words }: Submissions, sqe: number, slot: number, high: number): void {
  words[sqe + OPCODE] = IORING_OP_ASYNC_CANCEL
  words[sqe + ADDR] = slot
  words[sqe + ADDR + 1] = high
}

/**
 * Completes with the bytes read; fewer than asked is normal, 0 is the end of the file.
 * @param position in bytes; −1: at the current file offset
 * @see io_uring_prep_read(3), pread(2)
 */
export function prepRead(
  to: Submissions,
  sqe: number,
  address: number,
  bytes: number,
  position: number,
): void {
  prepMemory(to, sqe, IORING_OP_READ, address, bytes)
  set64(to.words, sqe + OFF, position)
}

/**
 * Completes with the bytes written; fewer than asked is normal where the disk is full or a signal came.
 * @param position in bytes; −1: at the current file offset
 * @see io_uring_prep_write(3), pwrite(2)
 */
export function prepWrite(
  to: Submissions,
  sqe: number,
  address: number,
  bytes: number,
  position: number,
): void {
  prepMemory(to, sqe, IORING_OP_WRITE, address, bytes)
  set64(to.words, sqe + OFF, position)
}

/** @param flags RWF_NOWAIT: EAGAIN instead of waiting; EOPNOTSUPP where the file does not support it @see preadv2(2) */
export function setRwFlags({ words }: Submissions, sqe: number, flags: number): void {
  words[sqe + OP_FLAGS] = flags
}

/** Completes when the fd is ready for `events`, or hangs up. It reads nothing. @see io_uring_prep_poll_add(3) */
export function prepPoll({ words }: Submissions, sqe: number, events: number): void {
  words[sqe + OPCODE] = IORING_OP_POLL_ADD
  words[sqe + OP_FLAGS] = events
}

/** Turns the kernel's readahead on or off. @see io_uring_prep_fadvise(3), posix_fadvise(2) */
export function prepFadvise({ words }: Submissions, sqe: number, readsAhead: boolean): void {
  words[sqe + OPCODE] = IORING_OP_FADVISE
  words[sqe + OP_FLAGS] = readsAhead ? POSIX_FADV_NORMAL : POSIX_FADV_RANDOM
}

/** @see io_uring_prep_fsync(3), fsync(2) */
export function prepFsync({ words }: Submissions, sqe: number): void {
  words[sqe + OPCODE] = IORING_OP_FSYNC
}

/** Writes dirty pages there to the disk, and waits until they have arrived. @see io_uring_prep_sync_file_range(3) */
export function prepSyncFileRange(
  { words }: Submissions,
  sqe: number,
  position: number,
  bytes: number,
): void {
  words[sqe + OPCODE] = IORING_OP_SYNC_FILE_RANGE
  set64(words, sqe + OFF, position)
  words[sqe + LEN] = bytes
  words[sqe + OP_FLAGS] = SYNC_FILE_RANGE_WRITE_AND_WAIT
}

/** Before Linux 6.9 it always completes with −EINVAL. @see io_uring_prep_ftruncate(3), ftruncate(2) */
export function prepFtruncate({ words }: Submissions, sqe: number, lengthBytes: number): void {
  words[sqe + OPCODE] = IORING_OP_FTRUNCATE
  set64(words, sqe + OFF, lengthBytes)
}

/** Mode 0: reserves room, and grows the file. @see io_uring_prep_fallocate(3), fallocate(2) */
export function prepFallocate(
  { words }: Submissions,
  sqe: number,
  offsetBytes: number,
  lengthBytes: number,
): void {
  words[sqe + OPCODE] = IORING_OP_FALLOCATE
  set64(words, sqe + OFF, offsetBytes)
  set64(words, sqe + ADDR, lengthBytes)
}

/** @param from @param to C strings @see io_uring_prep_renameat(3), rename(2) */
export function prepRenameat(ring: Submissions, sqe: number, from: Buffer, to: Buffer): void {
  prepMemory(ring, sqe, IORING_OP_RENAMEAT, ring.addressOf(from), AT_FDCWD)
  set64(ring.words, sqe + OFF, ring.addressOf(to))
}

/** @param path a C string @see io_uring_prep_unlinkat(3), unlink(2) */
export function prepUnlinkat(to: Submissions, sqe: number, path: Buffer): void {
  prepMemory(to, sqe, IORING_OP_UNLINKAT, to.addressOf(path), 0)
}

/**
 * Completes with a new fd, close-on-exec.
 * @param path a C string: the kernel has copied it once the submission is taken
 * @see io_uring_prep_openat(3), open(2)
 */
export function prepOpenat(to: Submissions, sqe: number, path: Buffer, flags: number, mode: number): void {
  prepMemory(to, sqe, IORING_OP_OPENAT, to.addressOf(path), mode)
  to.words[sqe + OP_FLAGS] = flags | O_CLOEXEC
}

/**
 * @param path a C string; undefined: the status of the fd
 * @param status `statxBytes` of memory
 * @param follow a symbolic link is followed
 * @see io_uring_prep_statx(3), statx(2)
 */
export function prepStatx(
  to: Submissions,
  sqe: number,
  path: Buffer | undefined,
  status: Buffer,
  follow = true,
): void {
  prepMemory(to, sqe, IORING_OP_STATX, to.addressOf(path ?? emptyPath), STATX_BASIC_STATS_AND_BTIME)
  set64(to.words, sqe + OFF, to.addressOf(status))
  to.words[sqe + OP_FLAGS] = (path === undefined ? AT_EMPTY_PATH : 0) | (follow ? 0 : AT_SYMLINK_NOFOLLOW)
}

/** @see io_uring_prep_close(3), close(2) */
export function prepClose({ words }: Submissions, sqe: number, fd: number): void {
  words[sqe + OPCODE] = IORING_OP_CLOSE
  words[sqe + USER_DATA_HIGH] = closesFd | fd
}

/** Completes with a new fd, close-on-exec. `sqe` has the family in place of an fd. @see io_uring_prep_socket(3) */
export function prepSocket({ words }: Submissions, sqe: number, type: number): void {
  words[sqe + OPCODE] = IORING_OP_SOCKET
  words[sqe + OFF] = type | SOCK_CLOEXEC
}

/** @see io_uring_prep_connect(3), connect(2) */
export function prepConnect(to: Submissions, sqe: number, sockaddr: Buffer): void {
  prepMemory(to, sqe, IORING_OP_CONNECT, to.addressOf(sockaddr), 0)
  to.words[sqe + OFF] = sockaddr.length
}

/** Completes with a new fd, close-on-exec. @see io_uring_prep_accept(3), accept4(2) */
export function prepAccept({ words }: Submissions, sqe: number): void {
  words[sqe + OPCODE] = IORING_OP_ACCEPT
  words[sqe + OP_FLAGS] = SOCK_CLOEXEC
}

/**
 * Completes with the bytes received; 0 is the end.
 * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
 * @param pollFirst nothing is expected yet: the kernel polls before it tries
 * @see io_uring_prep_recv(3), recv(2)
 */
export function prepRecv(
  to: Submissions,
  sqe: number,
  address: number,
  bytes: number,
  flags: number,
  pollFirst: boolean,
): void {
  prepMemory(to, sqe, IORING_OP_RECV | (pollFirst ? IORING_RECVSEND_POLL_FIRST << 16 : 0), address, bytes)
  to.words[sqe + OP_FLAGS] = flags
}

/**
 * Completes with the bytes that the kernel has taken.
 * @param flags MSG_DONTWAIT: EAGAIN instead of waiting
 * @see io_uring_prep_send(3), send(2)
 */
export function prepSend(to: Submissions, sqe: number, address: number, bytes: number, flags: number): void {
  prepMemory(to, sqe, IORING_OP_SEND, address, bytes)
  to.words[sqe + OP_FLAGS] = flags
}

/** @param msghdr its address; the kernel reads it when it takes the submission @see io_uring_prep_sendmsg(3) */
export function prepSendmsg(to: Submissions, sqe: number, msghdr: number, flags: number): void {
  prepMemory(to, sqe, IORING_OP_SENDMSG, msghdr, 1)
  to.words[sqe + OP_FLAGS] = flags
}

/** @param msghdr its address; the kernel writes to the struct as well @see io_uring_prep_recvmsg(3), recvmsg(2) */
export function prepRecvmsg(to: Submissions, sqe: number, msghdr: number, flags: number): void {
  prepMemory(to, sqe, IORING_OP_RECVMSG, msghdr, 1)
  to.words[sqe + OP_FLAGS] = flags
}

/** @param how SHUT_RD, SHUT_WR, SHUT_RDWR @see io_uring_prep_shutdown(3), shutdown(2) */
export function prepShutdown({ words }: Submissions, sqe: number, how: number): void {
  words[sqe + OPCODE] = IORING_OP_SHUTDOWN
  words[sqe + LEN] = how
}

/** A path as the kernel takes it: a C string. */
export function cString(path: string | Buffer): Buffer {
  return typeof path === 'string' ? Buffer.from(`${path}\0`) : Buffer.concat([path, emptyPath])
}

const emptyPath = Buffer.from('\0')
