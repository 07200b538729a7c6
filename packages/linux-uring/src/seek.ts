import type { Dirent, Stats } from 'node:fs'
import { constants, readdir as nodeReaddir } from 'node:fs'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, checkPath, detached, type PathLike } from '@kiruna/priority/arguments'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/priority/chunks'
import { largestFileBytes } from '@kiruna/priority/content'
import { systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { InUse } from '@kiruna/priority/in-use'
import { pieceBytes } from '@kiruna/priority/lane'
import { Operation } from '@kiruna/priority/operation'
import {
  type ReadManyOptions,
  type ReadResult,
  type ReadUpTo,
  readMany as readManyWith,
} from '@kiruna/priority/read-many'
import { ReadAll } from './read-all.ts'
import { RingOperation } from './ring-operation.ts'
import { statsOf } from './stats.ts'
import { type Completion, cString, EINTR, ring, statxBytes } from './uring.ts'

export type { Chunk, ChunksOptions, PathLike, ReadManyOptions, ReadResult }

/**
 * Opens a file, close-on-exec.
 * @param options `flags` as in node:fs, a string or a number such as `O_RDONLY | O_DIRECT`; `mode` of a new file, 0o666
 * @throws ENOENT, EACCES, EISDIR, EMFILE … (`err.code`); ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 * @see open(2)
 */
export function open(
  path: PathLike,
  caller: Caller,
  options: { flags?: string | number; mode?: number } = {},
): Promise<File> {
  return new Promise((resolve, reject) => {
    const { flags = 'r', mode = 0o666 } = options
    const name = checkPath(path)
    new Open(
      name,
      parseFlags(flags),
      checkInteger(mode, 'mode', 0, 2 ** 32 - 1),
      caller,
      resolve,
      reject,
    ).begin(0)
  })
}

/**
 * A whole file, of a size unknown beforehand: /proc too.
 * @throws ENOENT, EACCES, EISDIR … (`err.code`); ERR_FS_FILE_TOO_LARGE beyond 2 GiB
 * @see open(2), pread(2)
 */
export function readAll(path: PathLike, caller: Caller): Promise<Buffer> {
  return new Promise((resolve, reject) => readUpTo(largestFileBytes, path, caller, resolve, reject))
}

const readUpTo: ReadUpTo = (maxBytes, path, caller, resolve, reject) => {
  new ReadAll(checkPath(path), maxBytes, caller, resolve, reject).begin(pieceBytes)
}

/**
 * Many files, in the order in which they complete. A file that cannot be read is a result with its `error`.
 * At most about `bufferedBytes` wait to be taken; leaving the loop cancels what is under way.
 * @throws TypeError, RangeError: bad arguments, at once
 */
export function readMany(
  paths: Iterable<PathLike> | AsyncIterable<PathLike>,
  caller: Caller,
  options?: ReadManyOptions,
): AsyncIterableIterator<ReadResult, undefined, undefined> {
  return readManyWith(readUpTo, paths, caller, options)
}

/**
 * The status of a file; a symbolic link is followed.
 * @returns node:fs's own Stats
 * @see statx(2)
 */
export function stat(path: PathLike, caller: Caller): Promise<Stats> {
  return new Promise((resolve, reject) => {
    new Statx(-1, checkPath(path), undefined, caller, resolve, reject).begin(0)
  })
}

/**
 * The entries of a folder. io_uring has no call for it: this is node:fs's own, behind the lane.
 * @see readdir(3)
 */
export function readdir(path: PathLike, caller: Caller): Promise<Dirent[]> {
  return new Promise((resolve, reject) => {
    new Readdir(checkPath(path), caller, resolve, reject).begin(0)
  })
}

/** An open file, read at offsets: any number of operations at once. */
export class File {
  /** The file descriptor. It stays this file's: close the file, not the descriptor. */
  readonly fd: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #inUse = new InUse()

  /** @internal */
  constructor(fd: number, path: string | Buffer, direct: boolean) {
    this.fd = fd
    this.#path = path
    this.#direct = direct
  }

  /**
   * Fills `buffer` from `position` on.
   * @param position in bytes
   * @returns how many bytes were read: fewer than the buffer holds only at the end of the file
   * @throws EBADF, EIO, EISDIR, EINVAL … (`err.code`). An abort rejects when the kernel is done with the buffer,
   *   whose content is then undefined
   * @see pread(2)
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const read = new Read(
        this.fd,
        this.#path,
        this.#direct,
        buffer,
        position,
        this.#inUse,
        caller,
        resolve,
        reject,
      )
      this.#inUse.enter('read')
      if (buffer.byteLength > 0 || read.asker.signal?.aborted) return read.begin(read.pieceBytes)
      read.succeed(0)
      read.end()
    })
  }

  /**
   * The file in order, read ahead.
   * @throws TypeError, RangeError: bad options, at once
   */
  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void> {
    return chunks((buffer, position, asker) => this.read(buffer, position, asker), caller, options)
  }

  /** @see fstat(2) */
  stat(caller: Caller): Promise<Stats> {
    return new Promise((resolve, reject) => {
      const statx = new Statx(this.fd, this.#path, this.#inUse, caller, resolve, reject)
      this.#inUse.enter('fstat')
      statx.begin(0)
    })
  }

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see close(2)
   */
  close(): Promise<void> {
    return this.#inUse.close(
      () => new Promise((resolve, reject) => new Close(this.fd, this.#path, resolve, reject)),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

class Open extends RingOperation<File> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #mode: number
  #name: Buffer | undefined = undefined // held until the kernel has it

  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    caller: Caller,
    resolve: (file: File) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#mode = mode
  }

  start(): void {
    this.#name = cString(this.#path)
    this.ring.openat(this.#name, this.#flags, this.#mode, this)
  }

  complete(result: number): void {
    this.leave()
    if (this.aborted && result >= 0) this.ring.close(result)
    else if (result >= 0) this.succeed(new File(result, this.#path, (this.#flags & constants.O_DIRECT) !== 0))
    else if (result === EINTR && !this.aborted) this.enter(0)
    else this.fail(systemError(result, 'open', this.#path))
  }

  end(): void {}
}

class Read extends RingOperation<number> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse
  #doneBytes = 0
  #askedBytes = 0

  constructor(
    fd: number,
    path: string | Buffer,
    direct: boolean,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse,
    caller: Caller,
    resolve: (bytes: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#direct = direct
    this.#buffer = buffer
    this.#position = position
    this.#lengthBytes = buffer.byteLength
    this.#inUse = inUse
  }

  /** What the lane counts the next read as. */
  get pieceBytes(): number {
    return Math.min(this.#lengthBytes - this.#doneBytes, pieceBytes)
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#buffer.byteLength !== this.#lengthBytes) throw detached()
    const done = this.#doneBytes
    this.#askedBytes = Math.min(this.#lengthBytes - done, this.mostBytes)
    const address = this.ring.addressOf(this.#buffer) + done
    this.ring.read(this.#fd, address, this.#askedBytes, this.#position + done, this)
  }

  complete(result: number): void {
    this.leave()
    if (result > 0) this.#doneBytes += result
    // After a short direct read the next would begin unaligned: it was the end.
    const ended =
      result === 0 || this.#doneBytes === this.#lengthBytes || (this.#direct && result < this.#askedBytes)
    if (result < 0 && result !== EINTR) this.fail(systemError(result, 'read', this.#path))
    else if (this.aborted) this.fail(undefined)
    else if (ended && result !== EINTR) this.succeed(this.#doneBytes)
    else {
      this.enter(this.pieceBytes)
      return
    }
    this.end()
  }

  end(): void {
    this.#inUse.leave()
  }
}

class Statx extends RingOperation<Stats> {
  protected readonly ownsBuffer = true
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #inUse: InUse | undefined
  #name: Buffer | undefined = undefined
  #status: Buffer | undefined = undefined

  /** @param fd −1: by path; otherwise `path` is for errors only */
  constructor(
    fd: number,
    path: string | Buffer,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: (stats: Stats) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#inUse = inUse
  }

  start(): void {
    if (this.#fd === -1) this.#name = cString(this.#path)
    this.#status = Buffer.allocUnsafe(statxBytes)
    this.ring.statx(this.#fd, this.#name, this.#status, this)
  }

  complete(result: number): void {
    this.leave()
    if (result === EINTR && !this.aborted) {
      this.enter(0)
      return
    }
    if (result < 0) this.fail(systemError(result, this.#fd === -1 ? 'stat' : 'fstat', this.#path))
    else this.succeed(statsOf(this.#status!))
    this.end()
  }

  end(): void {
    this.#inUse?.leave()
  }
}

class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  constructor(fd: number, path: string | Buffer, resolve: () => void, reject: (reason: unknown) => void) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    ring().close(fd, this)
  }

  complete(result: number): void {
    // Linux has closed the fd even where it says EINTR.
    if (result < 0 && result !== EINTR) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}

class Readdir extends Operation<Dirent[]> {
  override pooled = true
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer

  constructor(
    path: string | Buffer,
    caller: Caller,
    resolve: (entries: Dirent[]) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
  }

  start(): void {
    nodeReaddir(this.#path, { withFileTypes: true }, (error, entries) => {
      this.leave()
      if (error !== null) this.fail(error)
      else this.succeed(entries)
    })
  }

  protected stop(): void {}

  end(): void {}
}
