import { close } from 'node:fs'
import { type Rank, shared } from '@kiruna/priority'
import { unavailable } from '@kiruna/priority/addon'
import { Batch, type Deliverable } from '@kiruna/priority/batch'
import { reportUncaught, systemError } from '@kiruna/priority/error'
import { nextTick, nowMs, setImmediate } from '@kiruna/priority/timers'
import { fuseDevices, loadNative, type Native, type NativeRing, setUp } from './native.ts'
import {
  type Completion,
  EAGAIN,
  EINTR,
  IORING_CQE_F_MORE,
  maxInlineBytes,
  noSlot,
  prepCancel,
  prepClose,
  Staged,
  sqEntries,
} from './sqe.ts'

interface RingDeliverable extends Deliverable {
  /** @internal the rank of the batch that it was delivered with, −1 for none */
  deliveredRank: Rank | -1
}

const IORING_SQ_CQ_OVERFLOW = 2 // linux/io_uring.h
const EBUSY = -16

// The same as in ring.h.
const cqEntries = 128
const cqeWords = 4

/** How long completions within enter, and submissions that follow on them, may go on before the event loop runs. */
const turnMs = 0.25

/** A copy of this size is left to the kernel's threads. */
const largeBytes = 64 * 1024

/**
 * The ring of this thread. Operations fill a submission each, which is staged; at the end of the tick one system call
 * hands over what is staged, and completions are taken from the same memory:
 *
 *     read() ─► staged ─► submission queue ─► enter ─► completion queue ─► complete() ─► settled, most urgent first
 *
 * @see io_uring(7)
 */
export class Ring extends Staged {
  readonly native: Native
  /** The fds that must not be read or written on this thread: see fuseDevices. */
  readonly onFuse = new Set<number>()
  /** Runs before each flush, and may stage more: sockets hold their ready transfers back until then. */
  beforeFlush: () => void = () => {}
  /** The memory that the kernel and this thread share. */
  readonly #shared: NativeRing
  /** An urgent caller waits for something staged. */
  #stagedUrgent = false
  /** Staged since the last flush, for an urgent caller, and not a socket's: as a rule its data is in memory. */
  #stagedUrgentFile = false
  /** How much the staged reads and writes may copy on this thread. */
  #inlineBytes = 0
  #keepsAlive = false

  /** A flush is due at the end of this tick, or at the end of this turn of the event loop. */
  #tickArmed = false
  #turnArmed = false
  /** When the ring first flushed in this turn of the event loop; 0 before. */
  #turnStartMs = 0
  #flushing = false

  #reaping = false
  /** Something urgent has settled, and its continuation waits for this thread. */
  #settledUrgent = false
  /** What has its outcome in the batch being reaped: delivered once all completions are taken. */
  readonly #batch = new Batch<RingDeliverable>()
  /** Handed to the callers' turns and not settled yet, by rank. */
  readonly #undelivered = [0, 0, 0, 0]

  constructor(native: Native) {
    super()
    this.native = native
    this.#shared = setUp(native, this.#ready)
  }

  /**
   * Asks the kernel to cancel what this completion waits for. The completion comes in any case, perhaps with success.
   * @see io_uring_prep_cancel(3)
   */
  cancel(completion: Completion): void {
    const slot = completion.slot
    if (slot === -1 || this.lost !== undefined) return
    prepCancel(this, this.sqe(-1, undefined), slot, this.userHigh[slot]!)
    this.submitSoon(0)
  }

  /** Closes `fd`. Without a completion it is not urgent. @see close(2) */
  close(fd: number, completion?: Completion): void {
    if (this.lost !== undefined) {
      close(fd, error => completion?.complete(error?.errno ?? 0, 0))
      return
    }
    prepClose(this, this.sqe(fd, completion), fd)
    this.submitSoon(completion === undefined ? 3 : 1)
  }

  /** Whether a transfer of `bytes` would hold up this thread: FUSE, and what is too large. */
  mustPunt(fd: number, bytes: number, rank: Rank | -1): boolean {
    if (this.onFuse.has(fd)) return true
    this.#inlineBytes += bytes
    return bytes >= largeBytes && (rank > 1 || this.#inlineBytes > maxInlineBytes)
  }

  /** Whether what this completion waits for keeps the process alive. At first it does. */
  setRef(completion: Completion, isRef: boolean): void {
    if (isRef === (completion.isUnref !== true)) return
    completion.isUnref = !isRef
    if (completion.slot === -1) return
    this.inFlight += isRef ? 1 : -1
    this.#keepAlive()
  }

  /** Where the kernel finds the buffer: valid as long as the buffer is held. */
  addressOf(buffer: NodeJS.ArrayBufferView): number {
    const memory = buffer.buffer
    let address = addresses.get(memory)
    if (address === undefined) addresses.set(memory, (address = this.native.address(new Uint8Array(memory))))
    return address + buffer.byteOffset
  }

  /** Notes whether an fd that is new to this thread is `onFuse`. */
  noteFuse(fd: number): void {
    const devices = fuseDevices()
    if (devices.size > 0 && devices.has(this.native.device(fd))) this.onFuse.add(fd)
    else this.onFuse.delete(fd)
  }

  /** The operation has its outcome: it is delivered with its batch, most urgent first. */
  handOver(operation: RingDeliverable): void {
    if (this.#reaping) this.#batch.add(operation)
    else operation.deliver()
  }

  /** An operation that was delivered with its batch has settled. */
  delivered(rank: Rank): void {
    // What the continuations of a batch submit goes down together, after the last of them has run.
    if (--this.#undelivered[rank]! === 0 && (this.stagedCount > 0 || this.#turnArmed))
      resolved.then(this.#armTick)
  }

  /**
   * Submits what is staged at the end of this tick. While completions of the same urgency are still being delivered,
   * their continuations may stage more: then it waits for the last of them, but not beyond this turn.
   */
  submitSoon(rank: Rank): void {
    if (rank <= 1) this.#stagedUrgent = this.#stagedUrgentFile = true
    this.#arm(rank > 1 || this.#undelivered[rank] === 0)
  }

  /**
   * For calls that a peer answers: answers gather in the next turn, while one by one each costs both sides system
   * calls. So what is not urgent is submitted at the end of this tick only if it is the first of its turn.
   */
  submitWithTurn(rank: Rank): void {
    if (rank <= 1) this.#stagedUrgent = true
    this.#arm(this.#undelivered[rank] === 0 && (rank <= 1 || this.#turnStartMs === 0))
  }

  #arm(isForTick: boolean): void {
    if (this.#tickArmed || this.#flushing) return
    if (isForTick) this.#armTick()
    else this.#armTurn()
  }

  readonly #armTick = (): void => {
    if (this.#tickArmed) return
    this.#tickArmed = true
    nextTick(this.#flushInTick)
  }

  #armTurn(): void {
    if (this.#turnArmed) return
    this.#turnArmed = true
    setImmediate(this.#flushInTurn)
  }

  readonly #flushInTick = (): void => {
    this.#tickArmed = false
    // Cached reads complete within enter, so ticks could follow one another for ever. Core bounds the continuations of
    // urgent callers, but not how the lane admits one operation after the other.
    if (this.#turnIsOver() && !(this.#stagedUrgentFile && shared.deliver !== undefined)) this.#armTurn()
    else this.#flush()
  }

  readonly #flushInTurn = (): void => {
    this.#turnArmed = false
    this.#turnStartMs = 0
    this.#flush()
  }

  #turnIsOver(): boolean {
    const now = nowMs()
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
    // Enter brings in what did not fit the completion queue. All else is there: see IORING_SETUP_COOP_TASKRUN.
    const { rings, sqFlags } = this.#shared
    if ((Atomics.load(rings, sqFlags) & IORING_SQ_CQ_OVERFLOW) !== 0) this.native.enter(0) // a failure shows in the flush
    this.#reap()
    this.#flush()
  }

  /** Hands what is staged to the kernel, and reaps what completes at once. */
  #flush(): void {
    this.#flushing = true
    this.#settledUrgent = this.#stagedUrgentFile = false
    this.#inlineBytes = 0
    this.beforeFlush()
    while (this.stagedCount > 0) {
      const count = this.fill(this.#shared)
      const { rings, sqHead, sqTail, sqArray } = this.#shared
      const head = rings[sqHead]!
      for (let i = 0; i < count; i++) rings[sqArray + ((head + i) & (sqEntries - 1))] = i
      Atomics.store(rings, sqTail, (head + count) | 0)
      const taken = this.native.enter(count)
      if (taken > 0) {
        this.stagedCount -= taken
        this.stagedFirst += taken
        if (this.stagedCount === 0) {
          this.stagedFirst = 0
          this.#stagedUrgent = false
        }
      } else if (taken < 0 && taken !== EINTR && taken !== EAGAIN && taken !== EBUSY) {
        this.#lose(taken)
        return
      }
      this.#reap()
      this.beforeFlush()
      // The kernel is short of memory, or its completion queue was full and has just been emptied: the rest goes next
      // turn. So does what completions have staged, when this turn has had its time.
      if ((taken < count && taken !== EINTR) || (this.stagedCount > 0 && this.#turnIsOver())) {
        this.#armTurn()
        break
      }
      // Urgent continuations run first.
      if (this.#settledUrgent && this.stagedCount > 0) {
        if (this.#stagedUrgent) resolved.then(this.#armTick)
        else this.#armTurn()
        break
      }
    }
    this.#flushing = false
    this.#keepAlive()
  }

  /**
   * The kernel takes nothing any more: a seccomp filter forbids it, or somebody has closed the ring's fd. All that is
   * staged or in flight ends with that error. The kernel may still write to its memory, which therefore stays.
   */
  #lose(errno: number): void {
    this.lost = unavailable(`the ring is lost (${systemError(errno, 'io_uring_enter').message})`)
    this.stagedCount = this.stagedFirst = 0
    this.#tickArmed = this.#turnArmed = this.#flushing = false
    lostForever.push(...this.completions)
    const all = this.completions.splice(0)
    this.freeSlots.length = this.inFlight = 0
    this.#keepAlive()
    for (const completion of all) {
      if (completion === undefined) continue
      completion.slot = -1
      try {
        completion.complete(errno, 0)
      } catch (error) {
        reportUncaught(error)
      }
    }
  }

  #keepAlive(): void {
    if (this.inFlight > 0 === this.#keepsAlive) return
    this.#keepsAlive = !this.#keepsAlive
    if (this.#keepsAlive) this.native.ref()
    else this.native.unref()
  }

  /** Takes the whole batch of completions, then delivers what has its outcome. */
  #reap(): void {
    const { rings, cqHead, cqTail, cqes, owned } = this.#shared
    let head = rings[cqHead]!
    let tail = Atomics.load(rings, cqTail)
    if (head === tail) return
    this.#reaping = true
    while (head !== tail) {
      const cqe = cqes + (head & (cqEntries - 1)) * cqeWords
      const slot = rings[cqe]!
      const high = rings[cqe + 1]!
      const result = rings[cqe + 2]!
      const flags = rings[cqe + 3]!
      head = (head + 1) | 0
      if (slot >>> 0 !== noSlot) {
        const completion = this.completions[slot]!
        if ((flags & IORING_CQE_F_MORE) === 0) {
          this.completions[slot] = undefined
          this.freeSlots.push(slot)
          completion.slot = -1
          if (completion.isUnref !== true) this.inFlight--
        }
        if (high < 0 && result >= 0) {
          if (result < owned.length * 32) owned[result >>> 5]! |= 1 << (result & 31)
          this.noteFuse(result)
        }
        try {
          completion.complete(result, flags)
        } catch (error) {
          reportUncaught(error) // an asker's own code has thrown: the others still get their completions
        }
      }
      if (head === tail) {
        Atomics.store(rings, cqHead, head)
        tail = Atomics.load(rings, cqTail)
      }
    }
    this.#reaping = false
    for (let rank: Rank = 0; rank < 4; rank++) {
      const operations = this.#batch.take(rank as Rank)
      if (operations.length === 0) continue
      if (rank <= 1) this.#settledUrgent = true
      this.#undelivered[rank]! += operations.length
      for (const operation of operations) {
        operation.deliveredRank = rank as Rank
        operation.deliver()
      }
    }
  }
}

const resolved = Promise.resolve()
/** An ArrayBuffer stays where it is, so its address is asked for once. */
const addresses = new WeakMap<ArrayBufferLike, number>()
/** What the kernel may still write to, as long as the process lives. */
const lostForever: unknown[] = []
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
