import { constants } from 'node:fs'
import { isatty } from 'node:tty'
import { EINTR, EIO } from '@kiruna/darwin-dispatch/dispatch'
import { fdOwner } from '@kiruna/darwin-dispatch/native'
import { Close, DispatchOperation } from '@kiruna/darwin-dispatch/operation'
import { isPtyMaster, type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { type Asker, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { clearTimeout, nowMs, setTimeout } from '@kiruna/priority/timers'

const [firstRetryMs, longestRetryMs] = [1, 50]

/** What the reads of one stream share. */
interface ReadState {
  readonly source: StreamSource
  /** A read may have to wait for a peer: a FIFO's writer, a user at a terminal, a socket's other end. */
  readonly mayWait: boolean
  /**
   * A FIFO that was opened without waiting, and that nobody has written to yet: macOS reports end of file. It is read
   * again later; a writer who comes and goes meanwhile without writing is not noticed.
   */
  lacksWriter: boolean
}

export function stateOf(source: StreamSource): ReadState {
  const { fd, path, stats } = source
  // A mode without any file type: an fd without a name, such as Linux's eventfd.
  const mayWait = stats.isFIFO() || stats.isSocket() || (stats.mode & constants.S_IFMT) === 0 || isatty(fd)
  return { source, mayWait, lacksWriter: stats.isFIFO() && path !== undefined }
}

/**
 * One read of a stream. A file's goes through the lane:
 *
 *     lane ─► channel
 *
 * A read that may have to wait does not, and waits in a dispatch source: a cancelled wait has taken nothing, and GCD
 * changes the flags of a borrowed fd only while there is something to read:
 *
 *     source, unless there is something already ─► channel, which is stopped with the first bytes
 *
 * If a read is cancelled too late, the bytes that it took are given back, for the next reader.
 */
export class StreamRead extends DispatchOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #state: ReadState
  readonly #source: StreamSource
  readonly #askedBytes: number
  #isWaiting = false
  /** The fd of the wait, which is read from even if the borrowed fd is closed meanwhile. */
  #duplicate = -1
  /** When the read of what is there began. */
  #begunMs = 0
  #memory: Buffer | undefined = undefined
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    state: ReadState,
    chunkBytes: number,
    asker: Asker,
    resolve: (bytes: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#state = state
    this.#source = state.source
    this.#askedBytes = Math.min(chunkBytes, this.#source.isOnDisk ? this.maxBytes : waitingPieceBytes)
  }

  override enter(bytes: number): void {
    this.bytes = bytes
    this.#source.turns.enter(this)
  }

  takeTurn(): void {
    const given = this.#source.takeBack(this.#askedBytes)
    if (given !== undefined) {
      this.succeed(given)
      this.end()
    } else if (this.#source.isOnDisk) super.enter(this.#askedBytes)
    else {
      if (this.#state.mayWait) arrivals.await(this)
      if (!this.#state.mayWait || this.#isReadable) this.#tryRead()
      else this.#wait()
    }
  }

  get #isReadable(): boolean {
    return this.gcd.native.isReadable(this.#source.fd)
  }

  /** Whether its bytes are there: they are being read, or are about to be. */
  get hasBytes(): boolean {
    if (this.#state.lacksWriter) return false
    return this.#isWaiting ? this.#isReadable : nowMs() - this.#begunMs < longestHoldMs
  }

  protected override handOver(): void {
    if (this.#state.mayWait && !this.aborted) arrivals.arrived(this)
    else super.handOver()
  }

  /** Delivers its bytes. */
  release(): void {
    super.handOver()
  }

  start(): void {
    const { gcd, rank } = this
    const { fd, isOnDisk } = this.#source
    this.#begunMs = nowMs()
    const memory = (this.#memory ??= this.#source.takeMemory(this.#askedBytes))
    const address = gcd.addressOf(memory)
    const duplicate = this.#duplicate
    this.#duplicate = -1
    const [from, owner] = duplicate === -1 ? [fd, this.#owner] : [duplicate, fdOwner.duplicate]
    gcd.native.read(gcd.begin(this), rank, from, address, this.#askedBytes, -1, owner, !isOnDisk)
  }

  #wait(): void {
    this.#isWaiting = true
    this.gcd.native.wait(this.gcd.begin(this), this.rank, this.#source.fd, this.#owner)
  }

  get #owner() {
    return this.#source.path === undefined ? fdOwner.borrowed : fdOwner.ours
  }

  complete(result: number): void {
    if (this.#isWaiting) this.#waited(result)
    else this.#read(result)
  }

  #waited(result: number): void {
    this.#isWaiting = false
    if (result >= 0 && result !== this.#source.fd) this.#duplicate = result
    if (this.aborted) this.end()
    else if (result < 0) this.#failWith(result)
    else this.#tryRead()
  }

  #read(result: number): void {
    this.leave()
    const { stats, isOnDisk } = this.#source
    if (result === 0 && this.#state.lacksWriter && !this.aborted) this.#waitLater()
    else if (result >= 0) this.#took(result)
    else if (this.aborted) this.end()
    else if (result === EINTR && isOnDisk) super.enter(this.#askedBytes)
    else if (result === EINTR) this.#tryRead()
    else if (result === EIO && isPtyMaster(stats)) this.#took(0)
    else this.#failWith(result)
  }

  #waitLater(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#wait()
    }, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  #took(bytes: number): void {
    this.#state.lacksWriter = false
    const piece = this.#source.cut(this.#memory!, bytes)
    this.#memory = undefined
    if (this.aborted) this.#source.giveBack(piece)
    else this.succeed(piece)
    this.end()
  }

  #tryRead(): void {
    try {
      this.start()
    } catch (error) {
      this.notStarted(error) // no memory
    }
  }

  #failWith(errno: number): void {
    this.fail(systemError(errno, 'read', this.#source.path))
    this.end()
  }

  protected override stop(): void {
    if (this.#source.turns.has(this) && this.#timer === undefined) super.stop()
    else {
      clearTimeout(this.#timer)
      this.end()
    }
  }

  end(): void {
    if (this.aborted) arrivals.left(this)
    if (this.#duplicate !== -1) new Close(this.#duplicate)
    this.#source.turns.leave(this)
  }
}

/** The longest wait for a more urgent read: another reader may have taken its bytes. */
const longestHoldMs = 100

/**
 * Delivers the most urgent first of what arrives together, though each read is on another thread: a read that has its
 * bytes is held while there are bytes for a more urgent one.
 *
 *     background     wait ─► read ─► held ··················► delivered
 *     realtime              wait ─────────► read ─► delivered ─┘
 */
class Arrivals {
  readonly #awaited = new Set<StreamRead>()
  readonly #held = new Set<StreamRead>()
  #timer: NodeJS.Timeout | undefined = undefined

  await(read: StreamRead): void {
    this.#awaited.add(read)
  }

  /** The read has its bytes: they are delivered now, or soon. */
  arrived(read: StreamRead): void {
    this.#awaited.delete(read)
    if (this.#isMostUrgent(read)) read.release()
    else {
      this.#held.add(read)
      this.#timer ??= setTimeout(() => this.#releaseHeld(true), longestHoldMs)
    }
    this.#releaseHeld(false)
  }

  /** The read ends without bytes. */
  left(read: StreamRead): void {
    this.#awaited.delete(read)
    this.#releaseHeld(false)
  }

  #isMostUrgent(read: StreamRead): boolean {
    const rank = rankOf(read.asker.priority)
    for (const other of this.#awaited) {
      if (rankOf(other.asker.priority) < rank && other.hasBytes) return false
    }
    return true
  }

  #releaseHeld(all: boolean): void {
    if (this.#held.size === 0) return
    const inOrder = [...this.#held].sort((a, b) => rankOf(a.asker.priority) - rankOf(b.asker.priority))
    for (const read of inOrder) {
      if (!all && !this.#isMostUrgent(read)) continue
      this.#held.delete(read)
      read.release()
    }
    if (this.#held.size > 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}

const arrivals = new Arrivals()
