import { constants, type Stats } from 'node:fs'
import { dispatcher, ECANCELED, EINTR, EIO } from '@kiruna/darwin-dispatch/dispatch'
import { fdOwner } from '@kiruna/darwin-dispatch/native'
import { Close, DispatchOperation, Open } from '@kiruna/darwin-dispatch/operation'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import type { ReadOptions, WriteOptions } from '@kiruna/fs-stream'
import { concatenate, pieces, type Reading } from '@kiruna/fs-stream/pieces'
import { QueuedWriter, type Writer, type Writing } from '@kiruna/fs-stream/queued-writer'
import { borrow, borrowSink, checkPathOrFd, isOnDisk, StreamSource } from '@kiruna/fs-stream/stream-source'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { checkInteger, detached, ownOptions, type PathLike } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { StreamRead, stateOf } from './read.ts'

export type * from '@kiruna/fs-stream'

import { checkAllowed, checkAllowedToOpen } from '@kiruna/priority/permission'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'

/** Reads in order; each `next` makes one read. @see dispatch_source_create(3), dispatch_io_read(3) */
export function read(
  source: PathLike | number,
  caller: Caller,
  options?: ReadOptions,
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const { chunkBytes = 64 * 1024 } = ownOptions(options)
  const from = checkPathOrFd(source)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  dispatcher()
  return pieces(asker => openSource(from, chunkBytes, asker), askerOf(caller))
}

/** All of a source, until its end. */
export async function all(source: PathLike | number, caller: Caller): Promise<Buffer> {
  return concatenate(source, read(source, caller, { chunkBytes: 256 * 1024 }))
}

/** Writes in order. @see dispatch_io_write(3) */
export function write(sink: PathLike | number, caller: Caller, options?: WriteOptions): Writer {
  const { flags = 'w' } = ownOptions(options)
  const to = checkPathOrFd(sink)
  const openFlags = parseFlags(flags)
  dispatcher()
  return new QueuedWriter(asker => openSink(to, openFlags, asker), askerOf(caller))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  dispatcher()
}

async function openSource(
  from: string | Buffer | number,
  chunkBytes: number,
  asker: Asker,
): Promise<Reading> {
  if (typeof from === 'number') return reading(borrow(from), chunkBytes, () => {})
  checkAllowed('fs.read', from)
  const { fd, stats } = await open(from, constants.O_RDONLY, asker)
  return reading(new StreamSource(fd, stats, from), chunkBytes, () => void new Close(fd))
}

function reading(source: StreamSource, chunkBytes: number, close: () => void): Reading {
  const state = stateOf(source)
  source.addReader()
  return {
    read: asker =>
      new Promise((resolve, reject) => new StreamRead(state, chunkBytes, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(close),
  }
}

async function openSink(to: string | Buffer | number, flags: number, asker: Asker): Promise<Writing> {
  if (typeof to === 'number') {
    return writing({ fd: to, path: undefined, isOnDisk: isOnDisk(borrowSink(to)) }, async () => {})
  }
  checkAllowedToOpen(to, flags)
  const { fd, stats } = await open(to, flags, asker)
  const close = () => new Promise<void>((resolve, reject) => new Close(fd, to, resolve, reject))
  return writing({ fd, path: to, isOnDisk: isOnDisk(stats) }, close)
}

function writing(sink: Sink, close: () => Promise<void>): Writing {
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) => new StreamWrite(sink, bytes, asker, resolve, reject).begin(0)),
    close,
  }
}

function open(path: string | Buffer, flags: number, asker: Asker): Promise<{ fd: number; stats: Stats }> {
  return new Promise((resolve, reject) =>
    new Open(
      { path, flags: flags | constants.O_NOCTTY, mode: 0o666, wantsStatus: true },
      (status, fd) => ({ fd, stats: statsOf(status) }),
      asker,
      resolve,
      reject,
    ).run(),
  )
}

interface Sink {
  readonly fd: number
  /** undefined: the fd is borrowed. */
  readonly path: string | Buffer | undefined
  readonly isOnDisk: boolean
}

/**
 * A write that waits is begun again after this. GCD does not notice everything that ends a wait for room:
 * swift-corelibs-libdispatch does not notice that a pipe's last reader has left.
 */
const beginAgainMs = 250

/**
 * Writes all of the bytes to a stream, a piece at a time. A file's write goes through the lane; one that may have to
 * wait does not, and waits in its channel until there is room.
 */
class StreamWrite extends DispatchOperation<void> {
  protected readonly ownsBuffer = false
  readonly #sink: Sink
  readonly #data: Uint8Array
  readonly #lengthBytes: number
  #doneBytes = 0
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    sink: Sink,
    data: Uint8Array,
    asker: Asker,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#sink = sink
    this.#data = data
    this.#lengthBytes = data.byteLength
  }

  override enter(): void {
    this.bytes = Math.min(this.#lengthBytes - this.#doneBytes, this.maxBytes)
    try {
      if (this.#sink.isOnDisk) super.enter(this.bytes)
      else this.start()
    } catch (error) {
      this.notStarted(error)
    }
  }

  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.#data.byteLength !== this.#lengthBytes) throw detached()
    const { gcd, rank, bytes } = this
    const { fd, path, isOnDisk } = this.#sink
    const owner = path === undefined ? fdOwner.borrowed : fdOwner.ours
    const hasBorrowedFlags = path === undefined && !isOnDisk
    const address = gcd.addressOf(this.#data) + this.#doneBytes
    gcd.native.write(gcd.begin(this), rank, fd, address, bytes, -1, owner, hasBorrowedFlags)
    if (!isOnDisk) this.#timer = setTimeout(() => this.stop(), beginAgainMs)
  }

  complete(result: number): void {
    clearTimeout(this.#timer)
    this.leave()
    if (result > 0) this.#doneBytes += result
    if (this.#doneBytes === this.#lengthBytes) this.commit(undefined)
    else if (this.aborted) this.fail(undefined)
    else if (result > 0 || result === EINTR || result === ECANCELED) this.enter()
    else this.fail(systemError(result === 0 ? EIO : result, 'write', this.#sink.path))
  }

  end(): void {}
}
