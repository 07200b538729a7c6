import { constants, type Stats } from 'node:fs'
import type { PathLike, ReadOptions, WriteOptions, Writer } from '@kiruna/fs-stream'
import { concatenate, pieces, type Reading } from '@kiruna/fs-stream/pieces'
import { QueuedWriter, type Writing } from '@kiruna/fs-stream/queued-writer'
import {
  borrow,
  borrowSink,
  checkPathOrFd,
  flagsOf,
  isOnDisk,
  StreamSource,
} from '@kiruna/fs-stream/stream-source'
import { Close, openat, RingOperation, statsOf } from '@kiruna/linux-uring/operation'
import { ring } from '@kiruna/linux-uring/ring'
import { AT_FDCWD, cString, EINTR, ENOENT, ENXIO, prepStatx, statxBytes } from '@kiruna/linux-uring/sqe'
import { type Asker, askerOf, type Caller, type Rank } from '@kiruna/priority'
import { checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { promised } from '@kiruna/priority/operation'
import { checkAllowed, checkAllowedToOpen } from '@kiruna/priority/permission'
import { type Position, type ReadState, StreamRead, StreamWrite, type WriteState } from './transfer.ts'

export type * from '@kiruna/fs-stream'

import { clearTimeout, setTimeout } from '@kiruna/priority/timers'

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK } = constants
const [firstRetryMs, longestRetryMs] = [1, 50]

/** Each `next` is one read: a read that would have to wait waits in a poll. @see preadv2(2), poll(2) */
export function read(
  source: PathLike | number,
  caller: Caller,
  options?: ReadOptions,
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const { chunkBytes = 64 * 1024 } = ownOptions(options)
  const from = checkPathOrFd(source)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  check()
  return pieces(asker => openSource(from, chunkBytes, asker), askerOf(caller))
}

/** All of a source, until its end. */
export async function all(source: PathLike | number, caller: Caller): Promise<Buffer> {
  return concatenate(source, read(source, caller, { chunkBytes: 256 * 1024 }))
}

/** Each write is made whole, in the order of the calls. @see pwritev2(2), poll(2) */
export function write(sink: PathLike | number, caller: Caller, options?: WriteOptions): Writer {
  const { flags = 'w' } = ownOptions(options)
  const to = checkPathOrFd(sink)
  const openFlags = parseFlags(flags)
  check()
  return new QueuedWriter(asker => openSink(to, openFlags, asker), askerOf(caller))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  ring()
}

async function openSource(
  from: string | Buffer | number,
  chunkBytes: number,
  asker: Asker,
): Promise<Reading> {
  if (typeof from === 'number') {
    ring().noteFuse(from)
    const source = borrow(from)
    return reading(source, source.isOnDisk ? 'shared' : 'none', chunkBytes, () => {})
  }
  checkAllowed('fs.read', from)
  const { fd, stats } = await open(from, constants.O_RDONLY, asker)
  const source = new StreamSource(fd, stats!, from)
  return reading(source, source.isOnDisk ? 0 : 'none', chunkBytes, () => ring().close(fd))
}

function reading(source: StreamSource, position: Position, chunkBytes: number, close: () => void): Reading {
  const state: ReadState = { source, position, nowait: true, pollFirst: source.stats.isFIFO() }
  source.addReader()
  return {
    read: asker =>
      promised((resolve, reject) => new StreamRead(state, chunkBytes, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(close),
  }
}

async function openSink(to: string | Buffer | number, flags: number, asker: Asker): Promise<Writing> {
  if (typeof to === 'number') {
    ring().noteFuse(to)
    const stats = borrowSink(to)
    const hasPosition = isOnDisk(stats) && (flagsOf(to) & O_APPEND) === 0
    return writing(to, undefined, stats, hasPosition ? 'shared' : 'none', async () => {})
  }
  checkAllowedToOpen(to, flags)
  const { fd, stats } = await open(to, flags, asker)
  const close = () => new Promise<void>((resolve, reject) => new Close(fd, to, resolve, reject))
  const hasPosition = (stats === undefined || isOnDisk(stats)) && (flags & O_APPEND) === 0
  return writing(fd, to, stats, hasPosition ? 0 : 'none', close)
}

function writing(
  fd: number,
  path: string | Buffer | undefined,
  stats: Stats | undefined,
  position: Position,
  close: () => Promise<void>,
): Writing {
  const state: WriteState = {
    fd,
    path,
    isOnDisk: stats === undefined || isOnDisk(stats),
    isFifo: stats?.isFIFO() ?? false,
    position,
    nowait: true,
    pollFirst: false,
  }
  return {
    write: (bytes, asker) =>
      promised((resolve, reject) => new StreamWrite(state, bytes, asker, resolve, reject).begin(0)),
    close,
  }
}

function open(path: string | Buffer, flags: number, asker: Asker): Promise<OpenedStream> {
  return promised((resolve, reject) => new OpenStream(path, flags, asker, resolve, reject).begin(0))
}

interface OpenedStream {
  fd: number
  /** undefined: it is new, hence a file. */
  stats: Stats | undefined
}

/**
 * Opens a path as a stream: statx, then openat. What is not on a disk is opened with O_NONBLOCK, since reads and writes
 * do the waiting. A file is not: with O_NONBLOCK, io_uring fails a read with EAGAIN instead of waiting for the disk. A
 * FIFO that nobody reads cannot be opened for writing like this (ENXIO), so the open is tried again.
 * @see fifo(7)
 */
class OpenStream extends RingOperation<OpenedStream> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #name: Buffer // held until the kernel has read it
  #status: Buffer | undefined = Buffer.allocUnsafe(statxBytes)
  #stats: Stats | undefined = undefined
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    path: string | Buffer,
    flags: number,
    asker: Asker,
    resolve: (opened: OpenedStream) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#name = cString(path)
  }

  start(): void {
    if (this.#status !== undefined) {
      prepStatx(this.ring, this.ring.sqe(AT_FDCWD, this), this.#name, this.#status)
      this.ring.submitSoon(this.laneRank as Rank)
      return
    }
    const isFile = this.#stats === undefined || isOnDisk(this.#stats)
    const flags = isFile ? this.#flags : this.#flags | O_NONBLOCK | O_NOCTTY
    openat(this, this.#name, flags, 0o666)
  }

  complete(result: number): void {
    this.leave()
    if (this.aborted) {
      if (this.#status === undefined && result >= 0) this.ring.close(result)
    } else if (result === EINTR) this.enter(0)
    else if (this.#status !== undefined) this.#statted(result)
    else if (result >= 0) this.succeed({ fd: result, stats: this.#stats })
    else if (result === ENXIO && this.#stats?.isFIFO()) this.#retry()
    else this.fail(systemError(result, 'open', this.#path))
  }

  #statted(result: number): void {
    if (result >= 0) this.#stats = statsOf(this.#status!)
    else if (result !== ENOENT || (this.#flags & O_CREAT) === 0) {
      this.fail(systemError(result, 'open', this.#path))
      return
    }
    this.#status = undefined
    this.enter(0)
  }

  #retry(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.enter(0)
    }, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  protected override stop(): void {
    if (this.#timer === undefined) super.stop()
    else clearTimeout(this.#timer)
  }

  end(): void {}
}
