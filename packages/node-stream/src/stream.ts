import * as fs from 'node:fs'
import type { PathLike, ReadOptions, WriteOptions, Writer } from '@kiruna/fs-stream'
import { concatenate, pieces, type Reading } from '@kiruna/fs-stream/pieces'
import { QueuedWriter, type Writing } from '@kiruna/fs-stream/queued-writer'
import {
  borrow,
  borrowSink,
  checkPathOrFd,
  StreamSource,
  waitingPieceBytes,
} from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { close, type Failure, PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import { Write } from '@kiruna/node-libuv/transfer'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { errnoOf } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { borrowForLoop, isForLoop, loopReading, loopWriting, noWait } from './loop.ts'

export type * from '@kiruna/fs-stream'

import { clearTimeout, setTimeout } from '@kiruna/priority/timers'

const { O_RDONLY, O_WRONLY } = fs.constants
const EAGAIN = errnoOf('EAGAIN')
const ENXIO = errnoOf('ENXIO')
/** The open of a FIFO without a reader is tried again after these. */
const [firstRetryMs, longestRetryMs] = [1, 50]
/** A device without data is read again after this: libuv cannot wait for it. */
const deviceRetryMs = 20

/**
 * Reads in order, a piece at each `next`.
 * @throws ERR_KIRUNA_UNAVAILABLE from the loop: a borrowed socket other than fds 0 to 2
 * @see read(2)
 */
export function read(
  source: PathLike | number,
  caller: Caller,
  options?: ReadOptions,
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const { chunkBytes = 64 * 1024 } = ownOptions(options)
  const from = checkPathOrFd(source)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  return pieces(asker => openSource(from, chunkBytes, asker), askerOf(caller))
}

/** All of a source, until its end. @throws ERR_FS_FILE_TOO_LARGE beyond 2 GiB */
export async function all(source: PathLike | number, caller: Caller): Promise<Buffer> {
  return concatenate(source, read(source, caller, { chunkBytes: 256 * 1024 }))
}

/** Writes in order. @throws ERR_KIRUNA_UNAVAILABLE from `write`: as from `read` @see write(2) */
export function write(sink: PathLike | number, caller: Caller, options?: WriteOptions): Writer {
  const { flags = 'w' } = ownOptions(options)
  const to = checkPathOrFd(sink)
  const openFlags = parseFlags(flags)
  return new QueuedWriter(asker => openSink(to, openFlags, asker), askerOf(caller))
}

async function openSource(
  from: string | Buffer | number,
  chunkBytes: number,
  asker: Asker,
): Promise<Reading> {
  if (typeof from === 'number') {
    const source = borrow(from)
    if (!isForLoop(from, source.stats)) return reading(source, chunkBytes, () => {})
    return loopReading(source, borrowForLoop(from, source.stats, O_RDONLY), chunkBytes)
  }
  const { fd, stats } = await open(from, O_RDONLY, asker)
  const source = new StreamSource(fd, stats, from)
  if (isForLoop(fd, stats)) return loopReading(source, { fd, isOwn: true, wasBlocking: false }, chunkBytes)
  return reading(source, chunkBytes, () => fs.close(fd))
}

function reading(source: StreamSource, chunkBytes: number, close: () => void): Reading {
  source.addReader()
  return {
    read: asker =>
      new Promise((resolve, reject) => new Read(source, chunkBytes, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(close),
  }
}

async function openSink(to: string | Buffer | number, flags: number, asker: Asker): Promise<Writing> {
  if (typeof to === 'number') {
    const stats = borrowSink(to)
    if (isForLoop(to, stats)) return loopWriting(borrowForLoop(to, stats, O_WRONLY), undefined)
    return writing(to, undefined, async () => {})
  }
  const { fd, stats } = await open(to, flags, asker)
  if (isForLoop(fd, stats)) return loopWriting({ fd, isOwn: true, wasBlocking: false }, to)
  return writing(fd, to, () => close(fd, to))
}

/** A file or a device, written at its current offset. */
function writing(fd: number, path: string | Buffer | undefined, close: () => Promise<void>): Writing {
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) =>
        new Write({ fd, path }, bytes, -1, asker, resolve, reject).run('write'),
      ),
    close,
  }
}

interface OpenedStream {
  fd: number
  stats: fs.Stats
}

function open(path: string | Buffer, flags: number, asker: Asker): Promise<OpenedStream> {
  return new Promise((resolve, reject) => new Open(path, flags, asker, resolve, reject).begin(0))
}

/**
 * open and fstat. A blocking open of a FIFO without another end would hold a pool thread, and the end of the process,
 * for ever. So the open does not wait; for writing that is ENXIO, and it is tried again.
 * @see fifo(7)
 */
class Open extends PoolOperation<OpenedStream> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #flags: number
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    path: string | Buffer,
    flags: number,
    asker: Asker,
    resolve: (value: OpenedStream) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#path = path
    this.#flags = flags
  }

  start(): void {
    fs.open(this.#path, this.#flags | noWait, (error, fd) => {
      if (error?.errno === ENXIO) fs.stat(this.#path, (_, stats) => this.#refused(error, stats))
      else if (error !== null) {
        this.leave()
        this.fail(error)
      } else fs.fstat(fd, (error, stats) => this.#opened(fd, error, stats))
    })
  }

  #opened(fd: number, error: Failure, stats: fs.Stats): void {
    if (error !== null || this.aborted) {
      if (error !== null) this.fail(withPath(error, this.#path))
      fs.close(fd, () => this.leave())
    } else {
      this.leave()
      this.succeed({ fd, stats })
    }
  }

  #refused(error: Error, stats: fs.Stats | undefined): void {
    this.leave()
    if (!stats?.isFIFO())
      this.fail(error) // a socket, or a device that is missing
    else if (!this.aborted) {
      this.#timer = setTimeout(() => this.enter(0), this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
    }
  }

  protected override stop(): void {
    clearTimeout(this.#timer)
  }

  end(): void {}
}

/** One read of a file, or of a device that does not wait, on a pool thread. @see read(2) */
class Read extends PoolOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #source: StreamSource
  readonly #askedBytes: number
  #memory: Buffer | undefined = undefined
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    source: StreamSource,
    chunkBytes: number,
    asker: Asker,
    resolve: (value: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#source = source
    this.#askedBytes = Math.min(chunkBytes, source.isOnDisk ? this.maxBytes : waitingPieceBytes)
  }

  override enter(bytes: number): void {
    this.bytes = bytes
    this.#source.turns.enter(this)
  }

  takeTurn(): void {
    const leftover = this.#source.takeBack(this.#askedBytes)
    if (leftover === undefined) super.enter(this.#askedBytes)
    else {
      this.succeed(leftover)
      this.end()
    }
  }

  start(): void {
    this.#memory ??= this.#source.takeMemory(this.#askedBytes)
    fs.read(this.#source.fd, this.#memory, 0, this.#askedBytes, null, (error, bytes) => {
      this.leave()
      if (error === null) this.#complete(bytes)
      else if (this.aborted) this.end()
      else if (error.errno === EAGAIN) this.#retryLater()
      else {
        this.fail(withPath(error, this.#source.path))
        this.end()
      }
    })
  }

  #complete(bytes: number): void {
    const piece = this.#source.cut(this.#memory!, bytes)
    this.#memory = undefined
    if (this.aborted) this.#source.giveBack(piece)
    else this.succeed(piece)
    this.end()
  }

  #retryLater(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      super.enter(this.#askedBytes)
    }, deviceRetryMs)
  }

  protected override stop(): void {
    if (this.#source.turns.has(this) && this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.end()
  }

  end(): void {
    this.#source.turns.leave(this)
  }
}
