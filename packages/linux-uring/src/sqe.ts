// What liburing's io_uring_prep_… functions do: each fills one submission. `sqe` is where it begins in `words`, as
// `ring.sqe()` returns it: cleared, except for its fd and its user_data.
import type { NativeRing } from './native.ts'

// struct io_uring_sqe in words of 32 bits, linux/io_uring.h. OPCODE also holds the flags in its second byte and ioprio
// in its upper half.
export const OPCODE = 0
export const OFF = 2
const ADDR = 4
export const LEN = 6
export const OP_FLAGS = 7
const USER_DATA_HIGH = 9

// linux/io_uring.h
const IORING_OP_FSYNC = 3
const IORING_OP_POLL_ADD = 6
const IORING_OP_SYNC_FILE_RANGE = 8
const IORING_OP_ASYNC_CANCEL = 14
const IORING_OP_FALLOCATE = 17
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

/** The submission stays: more completions follow. */
export const IORING_CQE_F_MORE = 2
/** There is more to receive. */
export const IORING_CQE_F_SOCK_NONEMPTY = 4

// linux/fcntl.h, linux/stat.h, sys/socket.h
export const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_EMPTY_PATH = 0x1000
const O_CLOEXEC = 0o2000000
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

export function prepMemory(
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
function inlineBytesOf({ words }: Submissions, sqe: number): number {
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

/** A path as the kernel takes it: a C string. */
export function cString(path: string | Buffer): Buffer {
  return typeof path === 'string' ? Buffer.from(`${path}\0`) : Buffer.concat([path, emptyPath])
}

const emptyPath = Buffer.from('\0')

// The same as in ring.h.
export const sqEntries = 64
const sqeWords = 16

/**
 * What hits the page cache is copied on this thread, within enter: at most this much in one call. Large reads are left
 * to the kernel's threads. That costs a turn of the event loop, so the first urgent ones of a batch are not.
 */
export const maxInlineBytes = 256 * 1024

/** In the upper word of user_data: the result is a new fd. uring.cc closes it if this thread has ended by then. */
const newFd = 0x8000_0000
/** Marks completions that nobody waits for. */
export const noSlot = 0xffff_ffff
const generations = 0x3fff_ffff

/** The submissions that the kernel has not been given yet, and who takes their results. */
export abstract class Staged implements Submissions {
  words = new Uint32Array(sqEntries * sqeWords)
  protected stagedFirst = 0
  protected stagedCount = 0
  protected readonly completions: (Completion | undefined)[] = []
  /** The upper word of user_data, by slot. Its generation protects the slot's next user from a late cancel. */
  protected readonly userHigh: number[] = []
  protected readonly freeSlots: number[] = []
  /** How many keep the process alive. */
  protected inFlight = 0
  /** The kernel takes nothing any more, and why. */
  protected lost: Error | undefined = undefined

  abstract addressOf(buffer: NodeJS.ArrayBufferView): number

  /**
   * Stages a cleared submission for `fd`.
   * @param completion takes the result; held until then, and its buffer with it
   * @param makesFd the result is a new fd, which uring.cc closes if this thread has ended by then
   * @returns where it begins in `words`
   * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: the ring is lost
   * @see io_uring_get_sqe(3)
   */
  sqe(fd: number, completion: Completion | undefined, makesFd = false): number {
    if (this.lost !== undefined) throw this.lost
    if ((this.stagedFirst + this.stagedCount) * sqeWords === this.words.length) this.#makeRoom()
    const words = this.words
    const sqe = (this.stagedFirst + this.stagedCount++) * sqeWords
    let slot = noSlot
    let high = 0
    if (completion !== undefined) {
      slot = this.freeSlots.pop() ?? this.completions.length
      high = (((this.userHigh[slot] ?? 0) + 1) & generations) | (makesFd ? newFd : 0)
      this.completions[slot] = completion
      this.userHigh[slot] = high
      completion.slot = slot
      if (completion.isUnref !== true) this.inFlight++
    }
    words[sqe] = 0
    words[sqe + 1] = fd
    for (let word = sqe + 2; word < sqe + 8; word++) words[word] = 0 // a call of fill costs more
    words[sqe + 8] = slot
    words[sqe + 9] = high
    for (let word = sqe + 10; word < sqe + sqeWords; word++) words[word] = 0
    return sqe
  }

  #makeRoom(): void {
    const { length } = this.words
    const staged = this.words.subarray(this.stagedFirst * sqeWords)
    if (staged.length > length / 2) this.words = new Uint32Array(length * 2)
    this.words.set(staged)
    this.stagedFirst = 0
  }

  /** Copies staged submissions into the submission queue, as many as one enter may do. Returns how many. */
  protected fill({ submissions: queue }: NativeRing): number {
    const most = Math.min(this.stagedCount, sqEntries)
    const { words } = this
    let [copiedBytes, count] = [0, 0]
    for (let sqe = this.stagedFirst * sqeWords; count < most; count++, sqe += sqeWords) {
      copiedBytes += inlineBytesOf(this, sqe)
      if (copiedBytes > maxInlineBytes && count > 0) break
      const at = count * sqeWords
      for (let word = 0; word < sqeWords; word++) queue[at + word] = words[sqe + word]!
    }
    return count
  }
}
