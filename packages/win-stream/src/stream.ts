import { constants } from 'node:fs'
import type { ReadOptions, WriteOptions } from '@kiruna/fs-stream'
import { concatenate, pieces, type Reading } from '@kiruna/fs-stream/pieces'
import { QueuedWriter, type Writer, type Writing } from '@kiruna/fs-stream/queued-writer'
import { borrow, borrowSink, checkPathOrFd, isOnDisk, StreamSource } from '@kiruna/fs-stream/stream-source'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { checkInteger, ownOptions, type PathLike } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { port } from '@kiruna/win-iocp/iocp'
import { Close, createFile, isConsolePath, isPipePath, widePath } from '@kiruna/win-iocp/open-file'
import { PortOperation } from '@kiruna/win-iocp/operation'
import { type ReadState, StreamRead, StreamWrite, type WriteState } from './transfer.ts'

export type * from '@kiruna/fs-stream'

import { checkAllowed, checkAllowedToOpen } from '@kiruna/priority/permission'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'

const EBUSY = errnoOf('EBUSY')
const [firstRetryMs, longestRetryMs] = [1, 50]

/**
 * Reads named pipes, consoles, devices, and files in order. A borrowed fd is read at its current offset.
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
 */
export function read(
  source: PathLike | number,
  caller: Caller,
  options?: ReadOptions,
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const { chunkBytes = 64 * 1024 } = ownOptions(options)
  const from = checkPathOrFd(source)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  port()
  return pieces(asker => openSource(from, chunkBytes, asker), askerOf(caller))
}

/** All of a source, until its end. */
export async function all(source: PathLike | number, caller: Caller): Promise<Buffer> {
  return concatenate(source, read(source, caller, { chunkBytes: 256 * 1024 }))
}

/**
 * Writes named pipes, consoles, devices, and files in order.
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile
 */
export function write(sink: PathLike | number, caller: Caller, options?: WriteOptions): Writer {
  const { flags = 'w' } = ownOptions(options)
  const to = checkPathOrFd(sink)
  const openFlags = parseFlags(flags)
  port()
  return new QueuedWriter(asker => openSink(to, openFlags, asker), askerOf(caller))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  port()
}

async function openSource(
  from: string | Buffer | number,
  chunkBytes: number,
  asker: Asker,
): Promise<Reading> {
  if (typeof from === 'number') {
    const source = borrow(from)
    return reading({ source, handle: undefined, position: 0 }, chunkBytes, () => {})
  }
  checkAllowed('fs.read', from)
  const handle = await open(from, constants.O_RDONLY, asker)
  const isOnDisk = port().native.isDisk(handle)
  const kind = { isFile: () => isOnDisk, isBlockDevice: () => false, isDirectory: () => false }
  const source = new StreamSource(-1, kind, from)
  return reading({ source, handle, position: 0 }, chunkBytes, () => new Close(handle))
}

function reading(state: ReadState, chunkBytes: number, close: () => void): Reading {
  state.source.addReader()
  return {
    read: asker =>
      new Promise((resolve, reject) => new StreamRead(state, chunkBytes, asker, resolve, reject).begin(0)),
    close: () => state.source.removeReader(close),
  }
}

async function openSink(to: string | Buffer | number, flags: number, asker: Asker): Promise<Writing> {
  if (typeof to === 'number') {
    const state = { fd: to, handle: -1, path: undefined, isOnDisk: isOnDisk(borrowSink(to)), position: 0 }
    return writing(state, async () => {})
  }
  checkAllowedToOpen(to, flags)
  const handle = await open(to, flags, asker)
  const close = () => new Promise<void>((resolve, reject) => new Close(handle, to, resolve, reject))
  const state = { fd: undefined, handle, path: to, isOnDisk: port().native.isDisk(handle), position: 0 }
  return writing(state, close)
}

function writing(state: WriteState, close: () => Promise<void>): Writing {
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) => new StreamWrite(state, bytes, asker, resolve, reject).begin(0)),
    close,
  }
}

function open(path: string | Buffer, flags: number, asker: Asker): Promise<number> {
  return new Promise((resolve, reject) => new OpenStream(path, flags, asker, resolve, reject).begin(0))
}

/**
 * Opens a path as a stream. If all instances of a named pipe are taken, the open says EBUSY and is tried again: waiting
 * for the pipe would hold a thread.
 * @see https://learn.microsoft.com/windows/win32/ipc/named-pipe-client
 */
class OpenStream extends PortOperation<number> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #widePath: string
  readonly #flags: number
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    path: string | Buffer,
    flags: number,
    asker: Asker,
    resolve: (handle: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#path = path
    this.#widePath = widePath(path)
    // A console or a pipe exists already, and cannot be created or truncated.
    if (isConsolePath(this.#widePath)) this.#flags = constants.O_RDWR
    else if (isPipePath(this.#widePath)) this.#flags = flags & ~(constants.O_CREAT | constants.O_TRUNC)
    else this.#flags = flags
  }

  start(): void {
    const { port, rank } = this
    createFile(port.native, port.begin(this), rank, this.#widePath, this.#flags, 0o666)
  }

  complete(result: number): void {
    this.leave()
    if (this.aborted) {
      if (result >= 0) new Close(result)
    } else if (result >= 0) this.succeed(result)
    else if (result === EBUSY && isPipePath(this.#widePath)) this.#retry()
    else if (!this.retry(result, () => this.enter(0))) this.fail(systemError(result, 'open', this.#path))
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
