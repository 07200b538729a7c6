import { constants } from 'node:fs'
import { isatty } from 'node:tty'
import { Close } from '@kiruna/darwin-dispatch/close'
import { EINTR, EIO } from '@kiruna/darwin-dispatch/dispatch'
import { whose } from '@kiruna/darwin-dispatch/native'
import { DispatchOperation } from '@kiruna/darwin-dispatch/operation'
import { isTerminalsOtherSide, type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { type Asker, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { type Awaited, arrived, begin, left, longestHoldMs } from './order.ts'

const [firstRetryMs, longestRetryMs] = [1, 50]

/** What the reads of one stream know of it. */
export interface ReadState {
  readonly source: StreamSource
  /** Somebody may have to come first: a FIFO's writer, who is at a keyboard, at the other end. */
  readonly isWaitedFor: boolean
  /**
   * A FIFO that was opened without waiting, and nobody has written yet: macOS says of it that it is at its end. It is
   * looked at again; a writer who comes and goes meanwhile, and writes nothing, is not seen.
   */
  isLonely: boolean
}

export function stateOf(source: StreamSource): ReadState {
  const { fd, path, stats } = source
  // No kind of file at all: what has no name, such as Linux's eventfd.
  const isWaitedFor =
    stats.isFIFO() || stats.isSocket() || (stats.mode & constants.S_IFMT) === 0 || isatty(fd)
  return { source, isWaitedFor, isLonely: stats.isFIFO() && path !== undefined }
}

/**
 * One read of a stream. What is on a disk goes through the lane:
 *
 *     lane ─► channel
 *
 * What may have to wait does not, and waits in a dispatch source, so that a cancelled wait has taken nothing, and the
 * flags of a borrowed fd are GCD's only while there is something to read:
 *
 *     source, unless there is something already ─► channel, which is stopped with the first bytes
 *
 * What a read takes that is cancelled too late is given back, to the next reader.
 */
export class StreamRead extends DispatchOperation<Buffer> implements InTurn, Awaited {
  protected readonly ownsBuffer = true
  readonly #state: ReadState
  readonly #source: StreamSource
  readonly #askedBytes: number
  #waiting = false
  /** What was waited with is read from, whatever becomes of the fd that was borrowed. */
  #duplicate = -1
  /** When it began to read what was there. */
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
    else if (this.#state.isWaitedFor) {
      begin(this)
      if (this.gcd.native.isReadable(this.#source.fd)) this.#tryRead()
      else this.#wait()
    } else this.#tryRead()
  }

  get hasBytes(): boolean {
    if (this.#state.isLonely) return false
    if (this.#waiting) return this.gcd.native.isReadable(this.#source.fd)
    return performance.now() - this.#begunMs < longestHoldMs
  }

  protected override handOver(): void {
    if (this.#state.isWaitedFor && !this.aborted) arrived(this)
    else super.handOver()
  }

  goOn(): void {
    super.handOver()
  }

  start(): void {
    const { isOnDisk } = this.#source
    this.#begunMs = performance.now()
    const memory = (this.#memory ??= this.#source.takeMemory(this.#askedBytes))
    const address = this.gcd.addressOf(memory)
    const rank = rankOf(this.asker.priority)
    const id = this.gcd.begin(this)
    const fd = this.#duplicate === -1 ? this.#source.fd : this.#duplicate
    const owner = this.#duplicate === -1 ? this.#whose : whose.duplicate
    this.#duplicate = -1
    this.gcd.native.read(id, rank, fd, address, this.#askedBytes, -1, owner, !isOnDisk)
  }

  complete(result: number): void {
    if (this.#waiting) this.#waited(result)
    else this.#read(result)
  }

  #wait(): void {
    this.#waiting = true
    const rank = rankOf(this.asker.priority)
    this.gcd.native.wait(this.gcd.begin(this), rank, this.#source.fd, this.#whose)
  }

  get #whose() {
    return this.#source.path === undefined ? whose.borrowed : whose.ours
  }

  #waited(result: number): void {
    this.#waiting = false
    if (result >= 0 && result !== this.#source.fd) this.#duplicate = result
    if (this.aborted) this.end()
    else if (result < 0) this.#failWith(result)
    else this.#tryRead()
  }

  #read(result: number): void {
    this.leave()
    const { stats, isOnDisk } = this.#source
    if (result === 0 && this.#state.isLonely && !this.aborted) this.#waitAgain()
    else if (result >= 0) this.#took(result)
    else if (this.aborted) this.end()
    else if (result === EINTR && isOnDisk) super.enter(this.#askedBytes)
    else if (result === EINTR) this.#tryRead()
    else if (result === EIO && isTerminalsOtherSide(stats)) this.#took(0)
    else this.#failWith(result)
  }

  #waitAgain(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#wait()
    }, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  #took(bytes: number): void {
    this.#state.isLonely = false
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
    if (this.aborted) left(this)
    if (this.#duplicate !== -1) new Close(this.#duplicate, '')
    this.#source.turns.leave(this)
  }
}
