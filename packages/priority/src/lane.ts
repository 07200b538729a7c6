import { type Link, LinkedList } from './linked-list.ts'
import { type Asker, type Rank, rankOf, shared } from './priority.ts'

/** A transfer below user-blocking is cut into pieces of at most this, each admitted by itself. */
export const maxPieceBytes = 256 * 1024
/** And at user-blocking or above, so that an abort need not wait for a gigabyte. */
export const maxUrgentPieceBytes = 8 * 1024 * 1024
/** What the priorities below user-blocking have in flight together while urgent operations are about. */
const shallowDepth = 4
const deepestDepth = 64
/**
 * And so many bytes for each of them: 768 KiB where it is shallow, three whole pieces. A fourth keeps a disk of 1 GB/s
 * always busy, and whoever is urgent then waits for what is queued: 0.75 ms instead of 0.1, for a tenth more throughput.
 */
const bytesPerOperation = 192 * 1024
/** Below user-blocking, bytes completed but not yet delivered: past this, nothing more is admitted. */
const undeliveredLimitBytes = 16 * 1024 * 1024
/** So long after the last urgent operation the lane may go deeper; and so long realtime counts as being about. */
const quietMs = 1000
/** How long throughput is measured before and after a step deeper, and the rise that keeps the step. */
const windowMs = 100
const worthwhileRise = 1.05
/** After a step that did not pay. */
const retryStepMs = 2000
/** What an operation that moves no bytes (open, stat) weighs when throughput is measured. */
const operationWeightBytes = 4096

/** One piece of work for the disk: it asks to be admitted, is started by the lane, and says when the OS is done. */
export abstract class LaneEntry {
  abstract readonly asker: Asker
  /** What this piece transfers; 0 for open, stat, readdir, fsync. */
  bytes = 0
  /** It runs on libuv's thread pool, of which the less urgent may only have half. */
  pooled = false
  /** It has begun: its next piece comes before what has not, or all would be open before any is done. */
  isContinuation = false
  /** Called by the lane at admission, perhaps within `enter`: hand the piece to the OS. */
  abstract start(): void
  /** `start` has thrown: the OS has nothing of this piece, and the lane has forgotten it. */
  notStarted(error: unknown): void {
    throw error
  }

  /** @internal the rank it waits or was admitted with, −1 outside the lane */
  laneRank: Rank | -1 = -1
  /** @internal where it waits, if it does */
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
 * Bounds what the less urgent have in flight, because a device's queue is first in, first out: a promise to the urgent
 * can only come from not filling it.
 *
 *     realtime       ─────────────────────────────► always admitted
 *     user-blocking  ───┬─────────────────────────► admitted; while realtime is about, 4 at a time
 *     user-visible   ───┴─►│  together 4 operations │
 *     background     ─────►│  and 768 KiB in flight,├─► OS
 *                          │  deeper when quiet     │
 *
 * At least one entry below user-blocking is admitted. Within a priority: first in, first out.
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

  constructor({
    now = () => performance.now(),
    poolThreads = poolThreadsFromEnvironment(),
  }: LaneOptions = {}) {
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
      this.#pump() // user-blocking may have waited for a realtime that is long gone
    }
  }

  /** The OS is done with the entry's piece: what waits may follow. */
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

  /** A waiting entry leaves and never starts. Returns false where it does not wait. */
  withdraw(entry: LaneEntry): boolean {
    if (entry.place === undefined) return false
    this.#stopWaiting(entry)
    entry.laneRank = -1
    this.#pump() // it may have stood at the head for want of room that the next does not need
    return true
  }

  /** Bytes that a library's own buffer holds for a caller below user-blocking until they are delivered. */
  hold(bytes: number, rank: Rank): void {
    this.#undeliveredBytes[rank]! += bytes
  }

  /** They are delivered, or nobody wants them any more. */
  release(bytes: number, rank: Rank): void {
    this.#undeliveredBytes[rank]! -= bytes
    this.#pump()
  }

  /** Nothing waits, and nothing is in flight. */
  get isIdle(): boolean {
    return this.#waitingCount === 0 && this.#operations.every(count => count === 0)
  }

  /** Something as urgent waits already. */
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
    // `release` looks again. What a paused background caller leaves lying is no reason to hold up user-visible.
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
    entry.unsubscribe = entry.asker.onPriorityChange?.(() => this.#moved(entry)) // may throw: nothing is queued yet
    entry.laneRank = rank
    const hasBegun = entry.isContinuation || entry.asker.isContinuation
    entry.place = hasBegun ? this.#waiting[rank].addFirst(entry) : this.#waiting[rank].add(entry)
    this.#waitingCount++
  }

  /** A raised entry goes to the tail of its new queue, and is admitted in this same call if there is room for it. */
  #moved(entry: LaneEntry): void {
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
    // While it pumps, one that is being started may complete, or move another: the loop below goes on.
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

  /** Who may start now. One that must wait is never overtaken by what came later or is less urgent. */
  #next(): LaneEntry | undefined {
    const waiting = this.#waiting
    const entry = (waiting[0].first ?? waiting[1].first ?? waiting[2].first ?? waiting[3].first)?.item
    return entry !== undefined && this.#admits(entry.laneRank as Rank, entry) ? entry : undefined
  }
}

/**
 * How deep the lane may be. A deep queue only ever helps throughput, and costs the next urgent operation its place:
 * so a step deeper is tried after a quiet second, and kept if throughput rose.
 */
class Climb {
  /** An urgent operation was admitted since the last look. */
  urgent = true
  #urgentAtMs: number
  #windowStartMs: number
  #windowBytes = 0
  /** Bytes per millisecond at the depth before the step that is being tried; 0 while none is. */
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
    // A window that began long ago measured a pause in the work as well.
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

/** The lane of this thread: one for every implementation in it. */
export const lane: Lane = (shared.lane ??= new Lane()) as Lane

function queue(): LinkedList<LaneEntry> {
  return new LinkedList()
}

/** @see https://docs.libuv.org/en/v1.x/threadpool.html */
function poolThreadsFromEnvironment(): number {
  const asked = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10)
  return Number.isNaN(asked) ? 4 : Math.min(Math.max(asked, 1), 1024)
}
