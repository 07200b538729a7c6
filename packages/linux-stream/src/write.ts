import { constants, writeSync } from 'node:fs'
import { flagsOf, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { EAGAIN, EINTR, EIO, EOPNOTSUPP, largeReadBytes } from '@kiruna/linux-uring/sqe'
import { type Asker, rankOf } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { type ErrnoException, systemError } from '@kiruna/priority/error'
import { RWF_NOWAIT } from './read.ts'

const { O_NONBLOCK } = constants
const POLLOUT = 4 // poll(2)

/** What the writes of one stream know of their fd. */
export interface WriteState {
  readonly fd: number
  readonly path: string | Buffer | undefined
  readonly isOnDisk: boolean
  readonly isFifo: boolean
  /** It knows RWF_NOWAIT. */
  nowait: boolean
  /** It is waited for before it is written. */
  pollFirst: boolean
}

/**
 * Writes all of the bytes to a stream. What is on a disk goes through the lane, a piece at a time; what may have to wait
 * does not, and waits in a POLL_ADD, as StreamRead does.
 */
export class StreamWrite extends RingOperation<void> {
  protected readonly ownsBuffer = false
  readonly #state: WriteState
  readonly #data: Uint8Array
  readonly #lengthBytes: number
  #doneBytes = 0
  #askedBytes = 0
  #polling = false
  /** A POLL_ADD has just said so. */
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
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#data.byteLength !== this.#lengthBytes) throw detached()
    const { fd, isOnDisk, isFifo, nowait } = this.#state
    const address = this.ring.addressOf(this.#data) + this.#doneBytes
    this.#flags = nowait && !isOnDisk ? RWF_NOWAIT : 0
    const isPunted = isOnDisk
      ? (this.#askedBytes >= largeReadBytes && this.laneRank > 1) || this.ring.onFuse.has(fd)
      : !nowait && !isFifo
    this.ring.writeOn(fd, address, this.#askedBytes, this.#flags, isPunted, this)
  }

  complete(result: number): void {
    if (this.#polling) this.#polled(result)
    else this.#wrote(result)
  }

  #poll(): void {
    this.#polling = true
    this.ring.poll(this.#state.fd, POLLOUT, this, rankOf(this.asker.priority))
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
    if (result > 0) this.#doneBytes += result
    if (this.#doneBytes === this.#lengthBytes) {
      this.aborted = false // all of it is written: that has happened, whatever came meanwhile
      this.succeed()
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

  /** @see StreamRead's #readNow */
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

  override succeed(): void {
    super.succeed(undefined)
  }

  end(): void {}
}
