import { quietMs, shallowDepth } from './climb.ts'
import { Disk } from './disk.ts'
import { type Link, LinkedList } from './linked-list.ts'
import { type Asker, type Rank, rankOf, shared } from './priority.ts'
import { clearTimeout, nowMs, setTimeout } from './timers.ts'

/** The largest piece of a transfer below user-blocking; each piece is admitted by itself. */
export const maxPieceBytes = 256 * 1024
/** The largest piece at user-blocking or above, so that an abort does not wait for a gigabyte. */
export const maxUrgentPieceBytes = 8 * 1024 * 1024
/**
 * The bytes that may be in flight for each of them: 768 KiB at the shallow depth, three whole pieces. A fourth piece
 * keeps a disk of 1 GB/s always busy; an urgent read then waits for what is queued, 0.75 ms instead of 0.1, for a tenth
 * more throughput.
 */
const bytesPerOperation = 192 * 1024
/**
 * The limit for bytes completed but not yet delivered below user-blocking, for each caller: beyond it nothing more is
 * admitted of that caller's.
 */
const undeliveredLimitBytes = 16 * 1024 * 1024
/** An operation's own weight in the throughput, also if it moves no bytes (open, stat). */
const operationWeightBytes = 4096
/**
 * How long something that its caller has given up still counts; so much longer for each that is lost, up to the most:
 * a mount that hangs gets ever fewer.
 */
const givenUpMs = 100
const mostGivenUpMs = 10_000

/** One piece of work for the disk: it asks to be admitted, is started by the lane, and says when the OS is done. */
export abstract class LaneEntry {
  abstract readonly asker: Asker
  /** Whose account it is on; undefined: that of calls by path. */
  disk: Disk<LaneEntry> | undefined = undefined
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
  /** @internal runs until it is lost: given up by its caller, and the OS does not give it back; then 'lost' */
  givenUp: NodeJS.Timeout | 'lost' | undefined = undefined
}

/** What one caller has been given and has not taken, and what waits for that. */
interface Holder {
  bytes: number
  readonly waiting: LinkedList<LaneEntry>
}

interface LaneOptions {
  /** Milliseconds, monotonic. */
  now?: () => number
  /** Threads in libuv's pool: UV_THREADPOOL_SIZE, or 4. */
  poolThreads?: number
}

/**
 * Bounds what the less urgent have in flight. A device's queue is first in, first out, so only a queue that is not full
 * can promise anything to the urgent. Each disk has an account of its own:
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
  readonly #now: () => number
  readonly #poolThreads: number
  readonly #paths: Disk<LaneEntry>
  readonly #disks = new Map<number, Disk<LaneEntry>>()
  /** The disks that something waits for. */
  readonly #busy: Disk<LaneEntry>[] = []
  #inFlight = 0
  #urgentCount = 0
  #pooledLow = 0
  #pooledUrgent = 0
  /** Given up by their callers; the OS still has them. Theirs are threads of the pool, too. */
  #lost = 0
  #lostPooled = 0
  /** Those who have undelivered bytes below user-blocking. */
  readonly #holders = new Map<object, Holder>()
  #waitingForHolders = 0
  #realtimeUntil = 0
  #pumping = false

  constructor({ now = nowMs, poolThreads = poolThreadsFromEnvironment() }: LaneOptions = {}) {
    this.#now = now
    this.#poolThreads = poolThreads
    this.#paths = new Disk(now())
  }

  /** The account of the disk with this `st_dev`, for what is done with an open file. */
  disk(stDev: number): Disk<LaneEntry> {
    let disk = this.#disks.get(stDev)
    if (disk === undefined) this.#disks.set(stDev, (disk = new Disk(this.#now())))
    return disk
  }

  /** How many operations below user-blocking may be in flight together, of calls by path. */
  get depth(): number {
    return this.#depthOf(this.#paths)
  }

  /** Admits the entry now (`start` runs before this returns) or when its turn comes. */
  enter(entry: LaneEntry): void {
    const rank = rankOf(entry.asker.priority)
    const disk = entry.disk ?? this.#paths
    if (!waitsBefore(disk, rank) && !this.#mustWaitForHolder(rank, entry) && this.#admits(rank, entry, disk))
      this.#admit(rank, entry, disk)
    else {
      entry.unsubscribe = entry.asker.onPriorityChange?.(() => this.#rankChanged(entry))
      entry.laneRank = rank
      this.#wait(entry, isBegun(entry))
      this.#pump() // user-blocking may have waited for a realtime operation that is long done
    }
  }

  /** The OS is done with the entry's piece: the next may start. */
  leave(entry: LaneEntry): void {
    if (entry.givenUp !== undefined) this.#isBack(entry)
    const rank = entry.laneRank
    if (rank === -1 || entry.place !== undefined) return
    this.#forget(entry, rank)
    const disk = entry.disk ?? this.#paths
    if (rank >= 2 && (disk.waiting[3].first !== undefined || disk.waiting[2].first !== undefined)) {
      this.#depthOf(disk)
      disk.depth = disk.climb.done(disk.depth, entry.bytes + operationWeightBytes, this.#now())
    }
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

  /** Nobody waits any more for what is in flight. If the OS does not give it back soon, it stops counting. */
  giveUp(entry: LaneEntry): void {
    if (entry.laneRank === -1 || entry.place !== undefined || entry.givenUp !== undefined) return
    const afterMs = Math.min(givenUpMs * (this.#lost + 1), mostGivenUpMs)
    entry.givenUp = setTimeout(() => this.#lose(entry), afterMs).unref()
  }

  /** Counts completed bytes in the library's memory for a caller below user-blocking, until they are delivered. */
  hold(bytes: number, asker: Asker): void {
    const owner = asker.owner ?? asker
    const holder = this.#holders.get(owner)
    if (holder === undefined) this.#holders.set(owner, { bytes, waiting: new LinkedList() })
    else holder.bytes += bytes
    this.#pump() // the caller's next may stand at the head, where it waits from now on for others than those behind it
  }

  /** They are delivered, or not wanted any more. */
  release(bytes: number, asker: Asker): void {
    const owner = asker.owner ?? asker
    const holder = this.#holders.get(owner)!
    holder.bytes -= bytes
    if (holder.bytes >= undeliveredLimitBytes) return
    if (holder.bytes === 0) this.#holders.delete(owner)
    for (const entry of [...holder.waiting]) {
      holder.waiting.remove(entry.place!)
      this.#waitingForHolders--
      this.#queue(entry, isBegun(entry))
    }
    this.#pump()
  }

  /** Nothing waits, and nothing is in flight. */
  get isIdle(): boolean {
    return this.#busy.length === 0 && this.#waitingForHolders === 0 && this.#inFlight === 0
  }

  #mustWaitForHolder(rank: Rank, { asker }: LaneEntry): boolean {
    if (rank < 2 || this.#holders.size === 0) return false
    const holder = this.#holders.get(asker.owner ?? asker)
    return holder !== undefined && holder.bytes >= undeliveredLimitBytes
  }

  #admits(rank: Rank, entry: LaneEntry, disk: Disk<LaneEntry>): boolean {
    if (rank === 0) return true
    if (rank === 1) {
      if (this.#realtimeUntil === 0 || this.#now() >= this.#realtimeUntil) return true
      if (disk.operations[1]! === 0) return true
      if (entry.pooled && this.#pooledUrgent >= this.#poolThreads - 1) return false
      return disk.operations[1]! < shallowDepth
    }
    if (entry.pooled && this.#pooledLow >= this.#mostPooledLow) return false
    const operations = disk.operations[2]! + disk.operations[3]!
    if (operations === 0) return true
    const depth = this.#depthOf(disk)
    return operations < depth && disk.bytes + entry.bytes <= depth * bytesPerOperation
  }

  /** Half of the threads that libuv's pool has left; of one thread, that one. */
  get #mostPooledLow(): number {
    if (this.#lostPooled > 0) return (this.#poolThreads - this.#lostPooled) >> 1
    return this.#poolThreads >> 1 || 1
  }

  /** It is shallow again as soon as something urgent was admitted, on whichever disk that is. */
  #depthOf(disk: Disk<LaneEntry>): number {
    if (disk.urgentCount !== this.#urgentCount) {
      disk.urgentCount = this.#urgentCount
      disk.depth = shallowDepth
      disk.climb.urgent = true
    }
    return disk.depth
  }

  #admit(rank: Rank, entry: LaneEntry, disk: Disk<LaneEntry>): void {
    entry.laneRank = rank
    disk.operations[rank]!++
    this.#inFlight++
    if (rank >= 2) {
      disk.bytes += entry.bytes
      if (entry.pooled) this.#pooledLow++
    } else {
      this.#urgentCount++
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

  /** It does not count any more. */
  #forget(entry: LaneEntry, rank: Rank): void {
    const disk = entry.disk ?? this.#paths
    entry.laneRank = -1
    disk.operations[rank]!--
    this.#inFlight--
    if (rank >= 2) {
      disk.bytes -= entry.bytes
      if (entry.pooled) this.#pooledLow--
    } else if (entry.pooled) this.#pooledUrgent--
  }

  #lose(entry: LaneEntry): void {
    this.#forget(entry, entry.laneRank as Rank)
    entry.givenUp = 'lost'
    this.#lost++
    if (entry.pooled) this.#lostPooled++
    this.#pump()
  }

  /** The OS gives back what its caller had given up. */
  #isBack(entry: LaneEntry): void {
    if (entry.givenUp === 'lost') {
      this.#lost--
      if (entry.pooled) this.#lostPooled--
    } else clearTimeout(entry.givenUp)
    entry.givenUp = undefined
    this.#pump()
  }

  #wait(entry: LaneEntry, goesFirst: boolean): void {
    if (!this.#mustWaitForHolder(entry.laneRank as Rank, entry)) {
      this.#queue(entry, goesFirst)
      return
    }
    const { asker } = entry
    entry.place = this.#holders.get(asker.owner ?? asker)!.waiting.add(entry)
    this.#waitingForHolders++
  }

  #queue(entry: LaneEntry, goesFirst: boolean): void {
    const disk = entry.disk ?? this.#paths
    const waiting = disk.waiting[entry.laneRank as Rank]
    entry.place = goesFirst ? waiting.addFirst(entry) : waiting.add(entry)
    if (disk.waitingCount++ === 0) this.#busy.push(disk)
  }

  /** The entry goes to the tail of its new queue, and is admitted in this same call if there is room for it. */
  #rankChanged(entry: LaneEntry): void {
    const rank = rankOf(entry.asker.priority)
    if (entry.place === undefined || rank === entry.laneRank) return
    this.#leaveQueue(entry)
    entry.laneRank = rank
    this.#wait(entry, false)
    this.#pump()
  }

  #leaveQueue(entry: LaneEntry): void {
    const disk = entry.disk ?? this.#paths
    const { list } = entry.place!
    list!.remove(entry.place!)
    entry.place = undefined
    if (list !== disk.waiting[entry.laneRank as Rank]) this.#waitingForHolders--
    else if (--disk.waitingCount === 0) this.#busy.splice(this.#busy.indexOf(disk), 1)
  }

  #stopWaiting(entry: LaneEntry): void {
    this.#leaveQueue(entry)
    entry.unsubscribe?.()
    entry.unsubscribe = undefined
  }

  /** Starts what may start, most urgent first. */
  #pump(): void {
    // An entry that the loop below starts may complete at once, or move another: the loop takes care of it.
    if (this.#busy.length === 0 || this.#pumping) return
    this.#pumping = true
    try {
      for (let entry = this.#next(); entry !== undefined; entry = this.#next()) {
        const rank = entry.laneRank as Rank
        const disk = entry.disk ?? this.#paths
        this.#stopWaiting(entry)
        // All disks share libuv's pool: each has its turn.
        if (this.#busy.length > 1 && disk.waitingCount > 0)
          this.#busy.push(...this.#busy.splice(this.#busy.indexOf(disk), 1))
        this.#admit(rank, entry, disk)
      }
    } finally {
      this.#pumping = false
    }
  }

  /** The entry that may start now. One that must wait is never overtaken by a later or a less urgent one of its disk. */
  #next(): LaneEntry | undefined {
    if (this.#busy.length === 1) return this.#nextOf(this.#busy[0]!)
    let next: LaneEntry | undefined
    for (const disk of [...this.#busy]) {
      const entry = this.#nextOf(disk)
      if (entry !== undefined && (next === undefined || entry.laneRank < next.laneRank)) next = entry
    }
    return next
  }

  #nextOf(disk: Disk<LaneEntry>): LaneEntry | undefined {
    for (let entry = disk.first; entry !== undefined; entry = disk.first) {
      const rank = entry.laneRank as Rank
      if (!this.#mustWaitForHolder(rank, entry)) return this.#admits(rank, entry, disk) ? entry : undefined
      this.#leaveQueue(entry) // the caller has much that it has not taken: others of its priority go on
      this.#wait(entry, false)
    }
    return undefined
  }
}

function isBegun({ isContinuation, asker }: LaneEntry): boolean {
  return isContinuation || asker.isContinuation === true
}

/** Whether something at least as urgent waits for the disk. */
function waitsBefore({ waiting, waitingCount }: Disk<LaneEntry>, rank: Rank): boolean {
  if (waitingCount === 0) return false
  for (let before: Rank = 1; before <= rank; before++) {
    if (waiting[before as Rank].first !== undefined) return true
  }
  return false
}

/** The lane of this thread: all implementations share it. */
export const lane: Lane = (shared.lane ??= new Lane()) as Lane

/** @see https://docs.libuv.org/en/v1.x/threadpool.html */
function poolThreadsFromEnvironment(): number {
  const asked = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '', 10)
  return Number.isNaN(asked) ? 4 : Math.min(Math.max(asked, 1), 1024)
}
