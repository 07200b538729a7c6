import { constants, read, readSync, write, writeSync } from 'node:fs'
import { flagsOf, isPtyMaster, type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { RingOperation } from '@kiruna/linux-uring/operation'
import {
  EAGAIN,
  EINTR,
  EIO,
  EOPNOTSUPP,
  prepPoll,
  prepRead,
  prepWrite,
  punt,
  setRwFlags,
} from '@kiruna/linux-uring/sqe'
import { type Asker, rankOf } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { type ErrnoException, systemError } from '@kiruna/priority/error'

const { O_NONBLOCK } = constants
// poll(2), preadv2(2)
const POLLIN = 1
const POLLOUT = 4
const RWF_NOWAIT = 8
/** A copy of this size out of the page cache is left to the kernel's threads. */
const largeBytes = 64 * 1024

/**
 * Where a transfer begins. io_uring's own "current position", −1, is right only where there is none: in a pipe, a
 * device, a socket, and with O_APPEND. On a file or a block device it takes no lock, and if only a part is transferred,
 * the kernel tries the rest by itself and leaves the position behind: so a stream counts in a file that it has opened,
 * and read(2) and write(2), on a thread of libuv's pool, count in one that it has borrowed.
 * @see lseek(2)
 */
export type Position = number | 'none' | 'shared'

/** What the reads of one stream know of their fd. */
export interface ReadState {
  readonly source: StreamSource
  position: Position
  /** The fd supports RWF_NOWAIT: a pipe, a socket and most devices do, a terminal and a FIFO do not. */
  nowait: boolean
  /** Poll before a read: a FIFO that nobody has opened for writing yet would report end of file. */
  pollFirst: boolean
}

/**
 * One read of a stream. A file's goes through the lane:
 *
 *     lane ─► READ at our own position; read(2) if the file is borrowed
 *
 * A read that may have to wait does not, and waits in a POLL_ADD, so that a cancelled wait has taken nothing:
 *
 *     READ, RWF_NOWAIT ─► EAGAIN ─► POLL_ADD ─► READ, RWF_NOWAIT ─► …
 *     POLL_ADD ─► READ ─► …                                              where there is no RWF_NOWAIT
 *
 * If a read is cancelled too late, the bytes that it took are given back, for the next reader.
 */
export class StreamRead extends RingOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #state: ReadState
  readonly #askedBytes: number
  #polling = false
  /** A POLL_ADD has just reported it ready. */
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
    this.pooled = state.position === 'shared'
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
    const { source, nowait, position } = this.#state
    const memory = (this.#memory ??= source.takeMemory(this.#askedBytes))
    if (position === 'shared') {
      read(source.fd, memory, 0, this.#askedBytes, null, (error, bytes) =>
        this.complete(error === null ? bytes : error.errno!),
      )
      return
    }
    const address = this.ring.addressOf(memory)
    this.#flags = nowait && !source.isOnDisk ? RWF_NOWAIT : 0
    // Large copies out of the page cache, and reads that may wait all the same (FUSE too), are left to the kernel's
    // threads.
    const isPunted = source.isOnDisk
      ? (this.#askedBytes >= largeBytes && this.laneRank > 1) || this.ring.onFuse.has(source.fd)
      : !nowait && !source.stats.isFIFO()
    const { ring } = this
    const sqe = ring.sqe(source.fd, this)
    prepRead(ring, sqe, address, this.#askedBytes, position === 'none' ? -1 : position)
    setRwFlags(ring, sqe, this.#flags)
    if (isPunted) punt(ring, sqe)
    ring.submitSoon(rankOf(this.asker.priority))
  }

  complete(result: number): void {
    if (this.#polling) this.#polled(result)
    else this.#read(result)
  }

  #poll(): void {
    this.#polling = true
    const { ring } = this
    prepPoll(ring, ring.sqe(this.#state.source.fd, this), POLLIN)
    ring.submitSoon(rankOf(this.asker.priority))
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
    else if (result === EIO && isPtyMaster(source.stats)) this.#took(0)
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
    if (typeof this.#state.position === 'number') this.#state.position += bytes
    const piece = source.cut(this.#memory!, bytes)
    this.#memory = undefined
    if (this.aborted) source.giveBack(piece)
    else this.succeed(piece)
    this.end()
  }

  /**
   * Ready, and EAGAIN without RWF_NOWAIT: the fd is O_NONBLOCK. Another reader was quicker; or the kernel is older than
   * 6.11 and says EAGAIN of every terminal and FIFO. read(2) itself tells which, and does not wait.
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

/** What the writes of one stream know of their fd. */
export interface WriteState {
  readonly fd: number
  readonly path: string | Buffer | undefined
  readonly isOnDisk: boolean
  readonly isFifo: boolean
  position: Position
  /** The fd supports RWF_NOWAIT. */
  nowait: boolean
  /** Poll before each write. */
  pollFirst: boolean
}

/**
 * Writes all of the bytes to a stream. A file's write goes through the lane, a piece at a time; one that may have to
 * wait does not, and waits in a POLL_ADD, as in StreamRead.
 */
export class StreamWrite extends RingOperation<void> {
  protected readonly ownsBuffer = false
  readonly #state: WriteState
  readonly #data: Uint8Array
  readonly #lengthBytes: number
  #doneBytes = 0
  #askedBytes = 0
  #polling = false
  /** A POLL_ADD has just reported it ready. */
  #isReady = false
  #flags = 0

  constructor(
    state: WriteState,
    data: Uint8Array,
    asker: Asker,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#state = state
    this.#data = data
    this.#lengthBytes = data.byteLength
    this.pooled = state.position === 'shared'
  }

  override enter(): void {
    const { isOnDisk, pollFirst } = this.#state
    const mostBytes = isOnDisk ? this.maxBytes : waitingPieceBytes
    this.#askedBytes = Math.min(this.#lengthBytes - this.#doneBytes, mostBytes)
    if (isOnDisk) super.enter(this.#askedBytes)
    else if (pollFirst) this.#poll()
    else this.#tryWrite()
  }

  start(): void {
    // The bytes were checked at the call, but may have been transferred while this waited.
    if (this.#data.byteLength !== this.#lengthBytes) throw detached()
    const { fd, isOnDisk, isFifo, nowait, position } = this.#state
    if (position === 'shared') {
      write(fd, this.#data, this.#doneBytes, this.#askedBytes, null, (error, bytes) =>
        this.complete(error === null ? bytes : error.errno!),
      )
      return
    }
    const address = this.ring.addressOf(this.#data) + this.#doneBytes
    this.#flags = nowait && !isOnDisk ? RWF_NOWAIT : 0
    const isPunted = isOnDisk
      ? (this.#askedBytes >= largeBytes && this.laneRank > 1) || this.ring.onFuse.has(fd)
      : !nowait && !isFifo
    const { ring } = this
    const sqe = ring.sqe(fd, this)
    prepWrite(ring, sqe, address, this.#askedBytes, position === 'none' ? -1 : position)
    setRwFlags(ring, sqe, this.#flags)
    if (isPunted) punt(ring, sqe)
    ring.submitSoon(rankOf(this.asker.priority))
  }

  complete(result: number): void {
    if (this.#polling) this.#polled(result)
    else this.#wrote(result)
  }

  #poll(): void {
    this.#polling = true
    const { ring } = this
    prepPoll(ring, ring.sqe(this.#state.fd, this), POLLOUT)
    ring.submitSoon(rankOf(this.asker.priority))
  }

  #polled(result: number): void {
    this.#polling = false
    if (this.aborted) this.fail(undefined)
    else if (result === EINTR) this.#poll()
    else if (result < 0) this.#failWith(result)
    else {
      this.#isReady = true
      this.#tryWrite()
    }
  }

  #wrote(result: number): void {
    this.leave()
    const isReady = this.#isReady
    this.#isReady = false
    if (result > 0) {
      this.#doneBytes += result
      if (typeof this.#state.position === 'number') this.#state.position += result
    }
    if (this.#doneBytes === this.#lengthBytes) {
      this.commit(undefined) // all of it is written, so an abort comes too late
    } else if (this.aborted) this.fail(undefined)
    else if (result > 0 || result === EINTR) this.enter()
    else if (result === EAGAIN && isReady && this.#flags === 0) this.#writeNow()
    else if (result === EAGAIN) this.#poll()
    else if (result === EOPNOTSUPP && this.#flags !== 0) {
      const { fd, isFifo } = this.#state
      this.#state.nowait = false
      this.#state.pollFirst = !isFifo || (flagsOf(fd) & O_NONBLOCK) === 0
      this.enter()
    } else this.#failWith(result === 0 ? EIO : result)
  }

  /** See StreamRead's #readNow. */
  #writeNow(): void {
    try {
      this.#wrote(writeSync(this.#state.fd, this.#data, this.#doneBytes, this.#askedBytes, null))
    } catch (error) {
      const { errno } = error as ErrnoException
      if (errno === EAGAIN) this.#poll()
      else if (errno === undefined) this.notStarted(error)
      else this.#failWith(errno)
    }
  }

  #tryWrite(): void {
    try {
      this.start()
    } catch (error) {
      this.notStarted(error)
    }
  }

  #failWith(errno: number): void {
    this.fail(systemError(errno, 'write', this.#state.path))
  }

  end(): void {}
}
