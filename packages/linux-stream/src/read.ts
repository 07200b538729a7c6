import { constants as fs, readSync } from 'node:fs'
import {
  flagsOf,
  isTerminalsOtherSide,
  type StreamSource,
  waitingPieceBytes,
} from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { EAGAIN, EINTR, EIO, EOPNOTSUPP, largeReadBytes } from '@kiruna/linux-uring/sqe'
import { type Asker, rankOf } from '@kiruna/priority'
import { type ErrnoException, systemError } from '@kiruna/priority/error'

const { O_NONBLOCK } = fs
// poll(2), preadv2(2)
const POLLIN = 1
export const RWF_NOWAIT = 8

/** What the reads of one stream know of their fd. */
export interface ReadState {
  readonly source: StreamSource
  /** It knows RWF_NOWAIT: a pipe, a socket and most devices do, a terminal and a FIFO do not. */
  nowait: boolean
  /** It is waited for before it is read. A FIFO that nobody has opened for writing yet would say that it is at its end. */
  pollFirst: boolean
}

/**
 * One read of a stream. What is on a disk goes through the lane:
 *
 *     lane ─► READ
 *
 * What may have to wait does not, and waits in a POLL_ADD, so that a cancelled wait has taken nothing:
 *
 *     READ, RWF_NOWAIT ─► EAGAIN ─► POLL_ADD ─► READ, RWF_NOWAIT ─► …
 *     POLL_ADD ─► READ ─► …                                              where there is no RWF_NOWAIT
 *
 * What a read takes that is cancelled too late is given back, to the next reader.
 */
export class StreamRead extends RingOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #state: ReadState
  readonly #askedBytes: number
  #polling = false
  /** A POLL_ADD has just said so. */
  #isReady = false
  #flags = 0
  #memory: Buffer | undefined = undefined

  constructor(
    state: ReadState,
    chunkBytes: number,
    asker: Asker,
    resolve: (bytes: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#state = state
    this.#askedBytes = Math.min(chunkBytes, state.source.isOnDisk ? this.maxBytes : waitingPieceBytes)
  }

  override enter(bytes: number): void {
    this.bytes = bytes
    this.#state.source.turns.enter(this)
  }

  takeTurn(): void {
    const { source, pollFirst } = this.#state
    const left = source.takeBack(this.#askedBytes)
    if (left !== undefined) {
      this.succeed(left)
      this.end()
    } else if (source.isOnDisk) super.enter(this.#askedBytes)
    else if (pollFirst) this.#poll()
    else this.#tryRead()
  }

  start(): void {
    const { source, nowait } = this.#state
    const memory = (this.#memory ??= source.takeMemory(this.#askedBytes))
    const address = this.ring.addressOf(memory)
    this.#flags = nowait && !source.isOnDisk ? RWF_NOWAIT : 0
    // Large copies out of the page cache, and what could wait all the same (FUSE too), are left to the kernel's threads.
    const isPunted = source.isOnDisk
      ? (this.#askedBytes >= largeReadBytes && this.laneRank > 1) || this.ring.onFuse.has(source.fd)
      : !nowait && !source.stats.isFIFO()
    this.ring.readOn(source.fd, address, this.#askedBytes, this.#flags, isPunted, this)
  }

  complete(result: number): void {
    if (this.#polling) this.#polled(result)
    else this.#read(result)
  }

  #poll(): void {
    this.#polling = true
    this.ring.poll(this.#state.source.fd, POLLIN, this, rankOf(this.asker.priority))
  }

  #polled(result: number): void {
    this.#polling = false
    if (this.aborted) this.end()
    else if (result === EINTR) this.#poll()
    else if (result < 0) this.#failWith(result)
    else {
      this.#isReady = true
      if (this.#state.nowait) this.#state.pollFirst = false
      this.#tryRead()
    }
  }

  #read(result: number): void {
    this.leave()
    const { source } = this.#state
    const isReady = this.#isReady
    this.#isReady = false
    if (result >= 0) this.#took(result)
    else if (this.aborted) this.end()
    else if (result === EINTR && source.isOnDisk) super.enter(this.#askedBytes)
    else if (result === EINTR) this.#tryRead()
    else if (result === EAGAIN && isReady && this.#flags === 0) this.#readNow()
    else if (result === EAGAIN) this.#poll()
    else if (result === EOPNOTSUPP && this.#flags !== 0) this.#hasNoNowait(isReady)
    else if (result === EIO && isTerminalsOtherSide(source.stats)) this.#took(0)
    else this.#failWith(result)
  }

  #hasNoNowait(isReady: boolean): void {
    const { fd, stats } = this.#state.source
    this.#state.nowait = false
    this.#state.pollFirst = !stats.isFIFO() || (flagsOf(fd) & O_NONBLOCK) === 0
    this.#isReady = isReady
    if (isReady) this.#tryRead()
    else this.#poll()
  }

  #took(bytes: number): void {
    const { source } = this.#state
    const piece = source.cut(this.#memory!, bytes)
    this.#memory = undefined
    if (this.aborted) source.giveBack(piece)
    else this.succeed(piece)
    this.end()
  }

  /**
   * Ready, and EAGAIN without RWF_NOWAIT: it is O_NONBLOCK. Somebody else was quicker; or the kernel is older than 6.11
   * and says so of every terminal and FIFO. The call itself tells, and does not wait.
   */
  #readNow(): void {
    const { fd } = this.#state.source
    try {
      this.#took(readSync(fd, this.#memory!, 0, this.#askedBytes, null))
    } catch (error) {
      const { errno } = error as ErrnoException
      if (errno === EAGAIN) this.#poll()
      else if (errno === undefined) throw error
      else this.#failWith(errno)
    }
  }

  #tryRead(): void {
    try {
      this.start()
    } catch (error) {
      this.notStarted(error) // no memory
    }
  }

  #failWith(errno: number): void {
    this.fail(systemError(errno, 'read', this.#state.source.path))
    this.end()
  }

  protected override stop(): void {
    if (this.#state.source.turns.has(this)) super.stop()
    else this.end()
  }

  end(): void {
    this.#state.source.turns.leave(this)
  }
}
