import { type Rank, rankOf, shared } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { loadNative, type Native } from './native.ts'
import type { RingOperation } from './ring-operation.ts'
import { setUp } from './setup.ts'

// linux/io_uring.h
const IORING_OP_FSYNC = 3
const IORING_OP_POLL_ADD = 6
const IORING_OP_ASYNC_CANCEL = 14
const IORING_OP_OPENAT = 18
const IORING_OP_CLOSE = 19
const IORING_OP_STATX = 21
const IORING_OP_READ = 22
const IORING_OP_WRITE = 23
const IORING_OP_RENAMEAT = 35
const IORING_OP_UNLINKAT = 36
const IORING_OP_FTRUNCATE = 55
const IOSQE_ASYNC = 1 << 4

// linux/fcntl.h, linux/stat.h
const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_EMPTY_PATH = 0x1000
const O_CLOEXEC = 0o2000000
const STATX_BASIC_STATS_AND_BTIME = 0xfff
export const statxBytes = 256

export const EINTR = -4
export const EIO = -5
export const ENXIO = -6
export const EAGAIN = -11
export const EINVAL = -22
const EBUSY = -16

// As uring.cc has them.
const sqEntries = 64
const cqEntries = 128
const sqeWords = 16
const cqeWords = 4

/**
 * What hits the page cache is copied on this thread, within enter. Large reads are left to the kernel's own threads,
 * which costs a turn of the event loop: so the first of a batch that are urgent are not, up to so much together.
 */
const inlineBytes = 256 * 1024
export const largeReadBytes = 64 * 1024
/** Completions within enter, and what follows on them, may go on so long before the event loop has its turn. */
const turnMs = 0.25

/** Marks the completions that nobody waits for. */
const noSlot = 0xffff_ffff
/** In the upper word of user_data: the result is a new fd. uring.cc closes it if nobody is left to take it. */
const resultIsFd = 0x8000_0000
/** And this: the rest is the fd that is closed. uring.cc closes it if the kernel was kept from it. */
const closesFd = 0x4000_0000
const generations = 0x3fff_ffff

/** A RingOperation, whatever its value. */
type AnyOperation = Completion &
  Pick<RingOperation<unknown>, 'asker' | 'laneRank' | 'deliveredRank' | 'deliver'>

/** Takes one completion. It is held, and with it its buffer, until the kernel is done. */
export interface Completion {
  /** @internal where the ring keeps it while the kernel has it, −1 otherwise */
  slot: number
  /** @param result as the system call returns it, or a negative errno */
  complete(result: number): void
}

/**
 * The ring of this thread. Operations fill a submission each and are staged; at the end of the tick one system call
 * hands them over and completions are taken from the same memory:
 *
 *     read() ─► staged ─► submission queue ─► enter ─► completion queue ─► complete() ─► settled, most urgent first
 *
 * @see io_uring(7)
 */
export class Ring {
  readonly #native: Native
  readonly #submissions: Uint32Array
  readonly #rings: Int32Array
  readonly #owned: Uint32Array
  readonly #opcodes: ReadonlySet<number>
  // Indices into #rings.
  readonly #sqHead: number
  readonly #sqTail: number
  readonly #sqArray: number
  readonly #cqHead: number
  readonly #cqTail: number
  readonly #cqes: number

  #staged = new Uint32Array(sqEntries * sqeWords)
  #stagedFirst = 0
  #stagedCount = 0
  /** What the reads among them may copy on this thread. */
  #inlineBytes = 0
  /** Somebody urgent waits for what is staged. */
  #stagedUrgent = false
  readonly #completions: (Completion | undefined)[] = []
  /** The upper word of user_data, by slot. Its generation keeps a late cancel from hitting the slot's next user. */
  readonly #userHigh: number[] = []
  readonly #freeSlots: number[] = []
  #inFlight = 0
  #keepsAlive = false

  /** A flush is due at the end of this tick, or of this turn of the event loop. */
  #tickArmed = false
  #turnArmed = false
  /** When this turn of the event loop first flushed; 0 before. */
  #turnStartMs = 0
  #flushing = false

  #reaping = false
  /** Something urgent has been settled, and its continuation waits until this thread is free. */
  #settledUrgent = false
  /** Those that got their outcome in the batch being reaped, by rank: handed over when the whole batch is taken. */
  readonly #batch: AnyOperation[][] = [[], [], [], []]
  /** Handed over and not yet delivered, by rank. */
  readonly #undelivered = [0, 0, 0, 0]

  constructor(native: Native) {
    const parts = setUp(native, this.#ready)
    this.#native = native
    this.#submissions = parts.submissions
    this.#rings = parts.rings
    this.#owned = parts.owned
    this.#opcodes = new Set(parts.opcodes)
    this.#sqHead = parts.sqHead / 4
    this.#sqTail = parts.sqTail / 4
    this.#sqArray = parts.sqArray / 4
    this.#cqHead = parts.cqHead / 4
    this.#cqTail = parts.cqTail / 4
    this.#cqes = parts.cqes / 4
  }

  /** The kernel knows this IORING_OP_…: for those that a ring can do without. */
  supports(opcode: number): boolean {
    return this.#opcodes.has(opcode)
  }

  /**
   * Reads from `fd` at `offsetBytes` into memory at `address`: one SQE, one CQE.
   * Completes with the bytes read; fewer than asked is normal, 0 is the end of the file.
   * @see io_uring_prep_read(3), pread(2)
   */
  read(fd: number, address: number, lengthBytes: number, offsetBytes: number, operation: AnyOperation): void {
    this.#inlineBytes += lengthBytes
    const isPunted =
      lengthBytes >= largeReadBytes && (operation.laneRank > 1 || this.#inlineBytes > inlineBytes)
    const flags = isPunted ? IOSQE_ASYNC << 8 : 0
    const sqe = this.#stage(IORING_OP_READ | flags, fd, operation)
    const words = this.#staged
    words[sqe + 2] = offsetBytes
    words[sqe + 3] = offsetBytes / 2 ** 32
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    this.#flushSoon(operation.laneRank as Rank)
  }

  /**
   * Completes when `fd` is ready for `events`, or hangs up. Cancelled, it has taken nothing from anybody.
   * @see io_uring_prep_poll_add(3), poll(2)
   */
  poll(fd: number, events: number, operation: AnyOperation): void {
    const sqe = this.#stage(IORING_OP_POLL_ADD, fd, operation)
    this.#staged[sqe + 7] = events
    this.#flushSoon(rankOf(operation.asker.priority))
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
    const sqe = this.#stage(IORING_OP_READ | (isPunted ? IOSQE_ASYNC << 8 : 0), fd, operation)
    const words = this.#staged
    words[sqe + 2] = words[sqe + 3] = 0xffff_ffff
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.#flushSoon(rankOf(operation.asker.priority))
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
    const sqe = this.#stage(IORING_OP_WRITE | (isPunted ? IOSQE_ASYNC << 8 : 0), fd, operation)
    const words = this.#staged
    words[sqe + 2] = words[sqe + 3] = 0xffff_ffff
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    words[sqe + 7] = flags
    this.#flushSoon(rankOf(operation.asker.priority))
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
    this.#inlineBytes += lengthBytes
    const isPunted =
      lengthBytes >= largeReadBytes && (operation.laneRank > 1 || this.#inlineBytes > inlineBytes)
    const flags = isPunted ? IOSQE_ASYNC << 8 : 0
    const sqe = this.#stage(IORING_OP_WRITE | flags, fd, operation)
    const words = this.#staged
    words[sqe + 2] = offsetBytes
    words[sqe + 3] = Math.floor(offsetBytes / 2 ** 32)
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = lengthBytes
    this.#flushSoon(operation.laneRank as Rank)
  }

  /** @see io_uring_prep_fsync(3), fsync(2) */
  fsync(fd: number, operation: AnyOperation): void {
    this.#stage(IORING_OP_FSYNC, fd, operation)
    this.#flushSoon(operation.laneRank as Rank)
  }

  /**
   * Completes with −EINVAL before Linux 6.9, and where ftruncate(2) says so too.
   * @see io_uring_prep_ftruncate(3), ftruncate(2)
   */
  ftruncate(fd: number, lengthBytes: number, operation: AnyOperation): void {
    const sqe = this.#stage(IORING_OP_FTRUNCATE, fd, operation)
    this.#staged[sqe + 2] = lengthBytes
    this.#staged[sqe + 3] = lengthBytes / 2 ** 32
    this.#flushSoon(operation.laneRank as Rank)
  }

  /** @see io_uring_prep_renameat(3), rename(2) */
  renameat(from: Buffer, to: Buffer, operation: AnyOperation): void {
    const [fromAddress, toAddress] = [this.addressOf(from), this.addressOf(to)]
    const sqe = this.#stage(IORING_OP_RENAMEAT, AT_FDCWD, operation)
    const words = this.#staged
    words[sqe + 2] = toAddress
    words[sqe + 3] = toAddress / 2 ** 32
    words[sqe + 4] = fromAddress
    words[sqe + 5] = fromAddress / 2 ** 32
    words[sqe + 6] = AT_FDCWD
    this.#flushSoon(operation.laneRank as Rank)
  }

  /** @see io_uring_prep_unlinkat(3), unlink(2) */
  unlinkat(path: Buffer, operation: AnyOperation): void {
    const address = this.addressOf(path)
    const sqe = this.#stage(IORING_OP_UNLINKAT, AT_FDCWD, operation)
    const words = this.#staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    this.#flushSoon(operation.laneRank as Rank)
  }

  /**
   * Completes with a new fd, close-on-exec. The kernel has copied the path by the time the submission is taken.
   * @param mayWait left to a thread of the kernel's: otherwise it is tried without waiting first
   * @see io_uring_prep_openat(3), open(2)
   */
  openat(path: Buffer, flags: number, mode: number, operation: AnyOperation, mayWait = false): void {
    const address = this.addressOf(path)
    const isPunted = mayWait ? IOSQE_ASYNC << 8 : 0
    const sqe = this.#stage(IORING_OP_OPENAT | isPunted, AT_FDCWD, operation, resultIsFd)
    const words = this.#staged
    words[sqe + 4] = address
    words[sqe + 5] = address / 2 ** 32
    words[sqe + 6] = mode
    words[sqe + 7] = flags | O_CLOEXEC
    this.#flushSoon(operation.laneRank as Rank)
  }

  /**
   * The status of `path`, or of `fd` where there is no path, into the `statxBytes` at `status`.
   * @param follow of a symbolic link, what it points to
   * @see io_uring_prep_statx(3), statx(2)
   */
  statx(fd: number, path: Buffer | undefined, status: Buffer, operation: AnyOperation, follow = true): void {
    const [pathAddress, statusAddress] = [this.addressOf(path ?? emptyPath), this.addressOf(status)]
    const sqe = this.#stage(IORING_OP_STATX, path === undefined ? fd : AT_FDCWD, operation)
    const words = this.#staged
    words[sqe + 2] = statusAddress
    words[sqe + 3] = statusAddress / 2 ** 32
    words[sqe + 4] = pathAddress
    words[sqe + 5] = pathAddress / 2 ** 32
    words[sqe + 6] = STATX_BASIC_STATS_AND_BTIME
    words[sqe + 7] = (path === undefined ? AT_EMPTY_PATH : 0) | (follow ? 0 : AT_SYMLINK_NOFOLLOW)
    this.#flushSoon(operation.laneRank as Rank)
  }

  /**
   * Closes `fd`. Without a completion nobody waits for it.
   * @see io_uring_prep_close(3), close(2)
   */
  close(fd: number, completion?: Completion): void {
    const sqe = this.#stage(IORING_OP_CLOSE, fd, completion)
    this.#staged[sqe + 9] = closesFd | fd
    this.#flushSoon(completion === undefined ? 3 : 1)
  }

  /**
   * Asks the kernel to end what this completion waits for. Its completion comes in any case, perhaps with success.
   * @see io_uring_prep_cancel(3)
   */
  cancel(completion: Completion): void {
    const slot = completion.slot
    if (slot === -1) return
    const sqe = this.#stage(IORING_OP_ASYNC_CANCEL, -1, undefined)
    this.#staged[sqe + 4] = slot
    this.#staged[sqe + 5] = this.#userHigh[slot]!
    this.#flushSoon(0)
  }

  /** Where the kernel finds the buffer: valid as long as the buffer is held. */
  addressOf(buffer: NodeJS.ArrayBufferView): number {
    const memory = buffer.buffer
    let address = addresses.get(memory)
    if (address === undefined) {
      address = this.#native.address(new Uint8Array(memory))
      addresses.set(memory, address)
    }
    return address + buffer.byteOffset
  }

  /** An operation has its outcome: it is delivered with its batch, the most urgent first. */
  handOver(operation: AnyOperation): void {
    if (this.#reaping) this.#batch[rankOf(operation.asker.priority)]!.push(operation)
    else operation.deliver()
  }

  /** One that was handed over with its batch has been delivered. */
  delivered(rank: Rank): void {
    // What the continuations of a batch ask for goes down together, after the last of them has run.
    if (--this.#undelivered[rank]! === 0 && this.#stagedCount > 0) resolved.then(this.#armTick)
  }

  /** Returns the index in #staged of a cleared submission. */
  #stage(opcodeAndFlags: number, fd: number, completion: Completion | undefined, high = 0): number {
    if ((this.#stagedFirst + this.#stagedCount) * sqeWords === this.#staged.length) this.#makeRoom()
    const words = this.#staged
    const sqe = (this.#stagedFirst + this.#stagedCount++) * sqeWords
    let slot = noSlot
    if (completion !== undefined) {
      slot = this.#freeSlots.pop() ?? this.#completions.length
      high = (((this.#userHigh[slot] ?? 0) + 1) & generations) | high
      this.#completions[slot] = completion
      this.#userHigh[slot] = high
      completion.slot = slot
      this.#inFlight++
    }
    words[sqe] = opcodeAndFlags
    words[sqe + 1] = fd
    for (let word = sqe + 2; word < sqe + 8; word++) words[word] = 0 // a call of fill costs more
    words[sqe + 8] = slot
    words[sqe + 9] = high
    for (let word = sqe + 10; word < sqe + sqeWords; word++) words[word] = 0
    return sqe
  }

  #makeRoom(): void {
    const { length } = this.#staged
    const staged = this.#staged.subarray(this.#stagedFirst * sqeWords)
    if (staged.length > length / 2) this.#staged = new Uint32Array(length * 2)
    this.#staged.set(staged)
    this.#stagedFirst = 0
  }

  /**
   * Flushes at the end of this tick. While completions as urgent are still being delivered, their continuations may
   * ask for more: then it waits for the last of them, but not beyond this turn.
   */
  #flushSoon(rank: Rank): void {
    if (rank <= 1) this.#stagedUrgent = true
    if (this.#tickArmed || this.#flushing) return
    if (rank > 1 || this.#undelivered[rank] === 0) this.#armTick()
    else this.#armTurn()
  }

  readonly #armTick = (): void => {
    if (this.#tickArmed) return
    this.#tickArmed = true
    process.nextTick(this.#flushInTick)
  }

  #armTurn(): void {
    if (this.#turnArmed) return
    this.#turnArmed = true
    setImmediate(this.#flushInTurn)
  }

  readonly #flushInTick = (): void => {
    this.#tickArmed = false
    // Cached reads complete within enter, so that ticks could follow one another for ever. Core bounds what the urgent
    // do, but not how the lane lets one after the other in.
    if (this.#turnIsOver() && !(this.#stagedUrgent && shared.deliver !== undefined)) this.#armTurn()
    else this.#flush()
  }

  readonly #flushInTurn = (): void => {
    this.#turnArmed = false
    this.#turnStartMs = 0
    this.#flush()
  }

  #turnIsOver(): boolean {
    const now = performance.now()
    if (this.#turnStartMs > 0) return now - this.#turnStartMs > turnMs
    this.#turnStartMs = now
    setImmediate(this.#turnEnds).unref() // it runs after the next poll, and does not cut it short
    return false
  }

  readonly #turnEnds = (): void => {
    this.#turnStartMs = 0
  }

  /** The ring's fd is readable: there are completions. */
  readonly #ready = (): void => {
    this.#turnStartMs = 0
    this.#flushing = true
    this.#native.enter(0) // brings in what did not fit the completion queue
    this.#reap()
    this.#flush()
  }

  /** Hands what is staged to the kernel, and takes what it completes at once. */
  #flush(): void {
    this.#flushing = true
    this.#stagedUrgent = this.#settledUrgent = false
    this.#inlineBytes = 0
    while (this.#stagedCount > 0) {
      const count = Math.min(this.#stagedCount, sqEntries)
      const words = this.#submissions
      const first = this.#stagedFirst * sqeWords
      for (let word = 0; word < count * sqeWords; word++) words[word] = this.#staged[first + word]!
      const rings = this.#rings
      const head = rings[this.#sqHead]!
      for (let i = 0; i < count; i++) rings[this.#sqArray + ((head + i) & (sqEntries - 1))] = i
      Atomics.store(rings, this.#sqTail, (head + count) | 0)
      const taken = this.#native.enter(count)
      if (taken > 0) {
        this.#stagedCount -= taken
        this.#stagedFirst = this.#stagedCount > 0 ? this.#stagedFirst + taken : 0
      } else if (taken < 0 && taken !== EINTR && taken !== EAGAIN && taken !== EBUSY) {
        this.#flushing = false
        throw systemError(taken, 'io_uring_enter')
      }
      this.#reap()
      // The kernel is short of memory, or its completion queue was full and has just been emptied: next turn.
      // So does what has followed on completions, when this turn has had its time; but what is urgent runs on first.
      if ((taken < count && taken !== EINTR) || (this.#stagedCount > 0 && this.#turnIsOver())) {
        this.#armTurn()
        break
      }
      if (this.#settledUrgent && this.#stagedCount > 0) {
        resolved.then(this.#armTick)
        break
      }
    }
    this.#flushing = false
    if (this.#inFlight > 0 !== this.#keepsAlive) {
      this.#keepsAlive = !this.#keepsAlive
      if (this.#keepsAlive) this.#native.ref()
      else this.#native.unref()
    }
  }

  /** Takes the whole batch of completions, then hands over what has its outcome. */
  #reap(): void {
    const rings = this.#rings
    let head = rings[this.#cqHead]!
    let tail = Atomics.load(rings, this.#cqTail)
    if (head === tail) return
    this.#reaping = true
    while (head !== tail) {
      const cqe = this.#cqes + (head & (cqEntries - 1)) * cqeWords
      const slot = rings[cqe]!
      const high = rings[cqe + 1]!
      const result = rings[cqe + 2]!
      head = (head + 1) | 0
      if (slot >>> 0 !== noSlot) {
        const completion = this.#completions[slot]!
        this.#completions[slot] = undefined
        this.#freeSlots.push(slot)
        completion.slot = -1
        this.#inFlight--
        if (high < 0 && result >= 0 && result < this.#owned.length * 32)
          this.#owned[result >>> 5]! |= 1 << (result & 31)
        try {
          completion.complete(result)
        } catch (error) {
          process.nextTick(rethrow, error) // an asker's own code: it must not cost the others their completion
        }
      }
      if (head === tail) {
        Atomics.store(rings, this.#cqHead, head)
        tail = Atomics.load(rings, this.#cqTail)
      }
    }
    this.#reaping = false
    for (let rank: Rank = 0; rank < 4; rank++) this.#deliver(rank as Rank)
  }

  #deliver(rank: Rank): void {
    const operations = this.#batch[rank]!
    if (operations.length === 0) return
    if (rank <= 1) this.#settledUrgent = true
    this.#batch[rank] = []
    this.#undelivered[rank]! += operations.length
    for (const operation of operations) {
      operation.deliveredRank = rank
      operation.deliver()
    }
  }
}

/** A path as the kernel takes it: a C string. */
export function cString(path: string | Buffer): Buffer {
  return typeof path === 'string' ? Buffer.from(`${path}\0`) : Buffer.concat([path, emptyPath])
}

const emptyPath = Buffer.from('\0')
const resolved = Promise.resolve()
/** An ArrayBuffer stays where it is, so its address is asked for once. */
const addresses = new WeakMap<ArrayBufferLike, number>()
let threadRing: Ring | undefined

/**
 * The ring of this thread, set up at the first call.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: not Linux, no addon, io_uring forbidden or missing, no fd left.
 *   The next call tries again
 */
export function ring(): Ring {
  threadRing ??= new Ring(loadNative())
  return threadRing
}

function rethrow(error: unknown): never {
  throw error
}
