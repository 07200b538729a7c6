import { type Link, LinkedList } from './linked-list.ts'
import { type Asker, type Rank, rankOf, shared } from './priority.ts'
import { nowMs } from './timers.ts'

/** The largest piece of a transfer below user-blocking; each piece is admitted by itself. */
export const maxPieceBytes = 256 * 1024
/** The largest piece at user-blocking or above, so that an abort does not wait for a gigabyte. */
export const maxUrgentPieceBytes = 8 * 1024 * 1024
/** How many operations below user-blocking are in flight together while there are urgent ones. */
const shallowDepth = 4
const deepestDepth = 64
/**
 * The bytes that may be in flight for each of them: 768 KiB at the shallow depth, three whole pieces. A fourth piece
 * keeps a disk of 1 GB/s always busy; an urgent read then waits for what is queued, 0.75 ms instead of 0.1, for a tenth
 * more throughput.
 */
const bytesPerOperation = 192 * 1024
/** The limit for bytes completed but not yet delivered below user-blocking: beyond it nothing more is admitted. */
const undeliveredLimitBytes = 16 * 1024 * 1024
/** The time after an urgent operation before the lane goes deeper; after a realtime one it bounds user-blocking. */
const quietMs = 1000
/** How long throughput is measured before and after a step deeper, and how much it must rise for the step to stay. */
const windowMs = 100
const worthwhileRise = 1.05
/** The pause after a step that did not pay. */
const retryStepMs = 2000
/** An operation's own weight in the throughput, also if it moves no bytes (open, stat). */
const operationWeightBytes = 4096

/** One piece of work for the disk: it asks to be admitted, is started by the lane, and says when the OS is done. */
export abstract class LaneEntry {
  abstract readonly asker: Asker
  /** How much this piece transfers; 0 for open, stat, readdir, fsync. */
  bytes = 0
  /** It runs on libuv's thread pool, of which the less urgent may have only half. */
  pooled = false
  /** It has begun: its next piece goes before what has not. Otherwise all files would be open before any is done. */
  isContinuation = false
  /** Called by the lane at admission, perhaps within `enter`: hand the piece to the OS. */
  abstract start(): void
  /** `start` has thrown: the OS has nothing of this piece, and the lane has forgotten it. */
  notStarted(error: unknown): void {
    throw error
  }

  /** @internal the rank that it waits with or was admitted with, −1 outside the lane */
  laneRank: Rank | -1 = -1
  /** @internal its place in the queue while it waits */
  place: Link<LaneEntry> | undefined = undefined
  /** @internal ends the subscription to its asker's priority */
  unsubscribe: (() => void) | undefined = undefined
}

interface LaneOptions {
  /** Milliseconds, monotonic. */
  now?: () => number
  /** Threads in libuv's pool: UV_THREADPOOL_SIZE, or 4. */
  poolThreads?: number
}

/**
 * Bounds what the less urgent have in flight. A device's queue is first in, first out, so only a queue that is not full
 * can promise anything to the urgent.
 *
 *     realtime       ─────────────────────────────► always admitted
 *     user-blocking  ───┬─────────────────────────► admitted; within 1 s of a realtime one, 4 at a time
 *     user-visible   ───┴─►│  together 4 operations │
 *     background     ─────►│  and 768 KiB in flight,├─► OS
 *                          │  deeper when quiet     │
 *
 * One entry below user-blocking is always admitted. Within a priority: first in, first out.
 */
export class Lane {
  /** How many operations below user-blocking may be in flight together, of `bytesPerOperation` on average. */
  depth = shallowDepth
  readonly #now: () => number
  readonly #poolThreads: number
  readonly #waiting = [queue(), queue(), queue(), queue()] as const
  #waitingCount = 0
  /** In flight, by rank at admission. */
  readonly #operations = [0, 0, 0, 0]
  /** In flight below user-blocking. */
  #bytes = 0
  #pooledLow = 0
  #pooledUrgent = 0
  /** Below user-blocking, by rank at completion. */
  readonly #undeliveredBytes = [0, 0, 0, 0]
  #realtimeUntil = 0
  #pumping = false
  readonly #climb: Climb

  constructor({ now = nowMs, poolThreads = poolThreadsFromEnvironment() }: LaneOptions = {}) {
    this.#now = now
    this.#poolThreads = poolThreads
    this.#climb = new Climb(now())
  }

  /** Admits the entry now (`start` runs before this returns) or when its turn comes. */
  enter(entry: LaneEntry): void {
    const rank = rankOf(entry.asker.priority)
    if (!this.#waitsBefore(rank) && this.#admits(rank, entry)) this.#admit(rank, entry)
    else {
      this.#wait(rank, entry)
      this.#pump() // user-blocking may have waited for a realtime operation that is long done
    }
  }

  /** The OS is done with the entry's piece: the next may start. */
  leave(entry: LaneEntry): void {
    const rank = entry.laneRank
    if (rank === -1 || entry.place !== undefined) return
    entry.laneRank = -1
    this.#operations[rank]!--
    if (rank >= 2) {
      this.#bytes -= entry.bytes
      if (entry.pooled) this.#pooledLow--
      if (this.#waiting[3].first !== undefined || this.#waiting[2].first !== undefined) {
        this.depth = this.#climb.done(this.depth, entry.bytes + operationWeightBytes, this.#now())
      }
    } else if (entry.pooled) this.#pooledUrgent--
    this.#pump()
  }

  /** Removes a waiting entry, which never starts. Returns false if it is not waiting. */
  withdraw(entry: LaneEntry): boolean {
    if (entry.place === undefined) return false
    this.#stopWaiting(entry)
    entry.laneRank = -1
    this.#pump() // it may have stood at the head and needed more room than the next one does
    return true
  }

  /** Counts completed bytes in the library's memory for a caller below user-blocking, until they are delivered. */
  hold(bytes: number, rank: Rank): void {
    this.#undeliveredBytes[rank]! += bytes
  }

  /** They are delivered, or not wanted any more. */
  release(bytes: number, rank: Rank): void {
    this.#undeliveredBytes[rank]! -= bytes
    this.#pump()
  }

  /** Nothing waits, and nothing is in flight. */
  get isIdle(): boolean {
    return this.#waitingCount === 0 && this.#operations.every(count => count === 0)
  }

  /** Whether something at least as urgent waits. */
  #waitsBefore(rank: Rank): boolean {
    if (this.#waitingCount === 0) return false
    for (let before: Rank = 1; before <= rank; before++) {
      if (this.#waiting[before as Rank].first !== undefined) return true
    }
    return false
  }

  #admits(rank: Rank, entry: LaneEntry): boolean {
    if (rank === 0) return true
    if (rank === 1) {
      if (this.#realtimeUntil === 0 || this.#now() >= this.#realtimeUntil) return true
      if (this.#operations[1]! === 0) return true
      if (entry.pooled && this.#pooledUrgent >= this.#poolThreads - 1) return false
      return this.#operations[1]! < shallowDepth
    }
    // `release` looks again. What a paused background caller has not taken does not hold up user-visible.
    const undeliveredBytes = this.#undeliveredBytes[2]! + (rank === 3 ? this.#undeliveredBytes[3]! : 0)
    if (undeliveredBytes >= undeliveredLimitBytes) return false
    const operations = this.#operations[2]! + this.#operations[3]!
    if (operations === 0) return true
    if (entry.pooled && this.#pooledLow >= this.#poolThreads >> 1) return false
    return operations < this.depth && this.#bytes + entry.bytes <= this.depth * bytesPerOperation
  }

  #admit(rank: Rank, entry: LaneEntry): void {
    entry.laneRank = rank
    this.#operations[rank]!++
    if (rank >= 2) {
      this.#bytes += entry.bytes
      if (entry.pooled) this.#pooledLow++
    } else {
      this.depth = shallowDepth
      this.#climb.urgent = true
      if (entry.pooled) this.#pooledUrgent++
      if (rank === 0) this.#realtimeUntil = this.#now() + quietMs
    }
    try {
      entry.start()
    } catch (error) {
      this.leave(entry)
      entry.notStarted(error)
    }
  }

  #wait(rank: Rank, entry: LaneEntry): void {
    entry.unsubscribe = entry.asker.onPriorityChange?.(() => this.#rankChanged(entry)) // it may throw: not queued yet
    entry.laneRank = rank
    const hasBegun = entry.isContinuation || entry.asker.isContinuation
    entry.place = hasBegun ? this.#waiting[rank].addFirst(entry) : this.#waiting[rank].add(entry)
    this.#waitingCount++
  }

  /** The entry goes to the tail of its new queue, and is admitted in this same call if there is room for it. */
  #rankChanged(entry: LaneEntry): void {
    const rank = rankOf(entry.asker.priority)
    if (entry.place === undefined || rank === entry.laneRank) return
    this.#waiting[entry.laneRank as Rank].remove(entry.place)
    entry.laneRank = rank
    entry.place = this.#waiting[rank].add(entry)
    this.#pump()
  }

  #stopWaiting(entry: LaneEntry): void {
    this.#waiting[entry.laneRank as Rank].remove(entry.place!)
    this.#waitingCount--
    entry.place = undefined
    entry.unsubscribe?.()
    entry.unsubscribe = undefined
  }

  /** Starts what may start, most urgent first. */
  #pump(): void {
    // An entry that the loop below starts may complete at once, or move another: the loop takes care of it.
    if (this.#waitingCount === 0 || this.#pumping) return
    this.#pumping = true
    try {
      for (let entry = this.#next(); entry !== undefined; entry = this.#next()) {
        const rank = entry.laneRank as Rank
        this.#stopWaiting(entry)
        this.#admit(rank, entry)
      }
    } finally {
      this.#pumping = false
    }
  }

  /** The entry that may start now. One that must wait is never overtaken by a later or a less urgent one. */
  #next(): LaneEntry | undefined {
    const waiting = this.#waiting
    const entry = (waiting[0].first ?? waiting[1].first ?? waiting[2].first ?? waiting[3].first)?.item
    return entry !== undefined && this.#admits(entry.laneRank as Rank, entry) ? entry : undefined
  }
}

/**
 * How deep the lane may be. A deep queue helps only throughput, and makes the next urgent operation wait: so a step
 * deeper is tried after a quiet second, and kept if throughput rose.
 */
class Climb {
  /** An urgent operation was admitted since the last `done`. */
  urgent = true
  #urgentAtMs: number
  #windowStartMs: number
  #windowBytes = 0
  /** Bytes per millisecond before the step that is being tried; 0: none is. */
  #baseline = 0
  #retryAtMs = 0

  constructor(nowMs: number) {
    this.#urgentAtMs = this.#windowStartMs = nowMs
  }

  /** An operation is done, and others wait. Returns the depth from here on. */
  done(depth: number, bytes: number, nowMs: number): number {
    if (this.urgent) {
      this.urgent = false
      this.#urgentAtMs = nowMs
      this.#restart(nowMs)
      this.#baseline = this.#retryAtMs = 0
      return shallowDepth
    }
    this.#windowBytes += bytes
    const elapsedMs = nowMs - this.#windowStartMs
    if (elapsedMs < windowMs) return depth
    const throughput = this.#windowBytes / elapsedMs
    this.#restart(nowMs)
    // A window that began long ago includes a pause in the work.
    if (elapsedMs > 4 * windowMs || nowMs - this.#urgentAtMs < quietMs) return depth
    if (this.#baseline > 0 && throughput < this.#baseline * worthwhileRise) {
      this.#baseline = 0
      this.#retryAtMs = nowMs + retryStepMs
      return Math.max(shallowDepth, depth >> 1)
    }
    if (depth >= deepestDepth || nowMs < this.#retryAtMs) {
      this.#baseline = 0
      return depth
    }
    this.#baseline = throughput
    return depth << 1
  }

  #restart(nowMs: number): void {
    this.#windowStartMs = nowMs
    this.#windowBytes = 0
  }
}

/** The lane of this thread: all implementations share it. */
export const lane: Lane = (shared.lane ??= new Lane()) as Lane

function queue(): LinkedList<LaneEntry> {
  return new LinkedList()
}

/** @see https://docs.libuv.org/en/v1.x/threadpool.html */
function poolThreadsFromEnvironment(): number {
  const asked = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10)
  return Number.isNaN(asked) ? 4 : Math.min(Math.max(asked, 1), 1024)
}
