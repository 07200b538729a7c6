import type { Dirent, Stats } from 'node:fs'
import * as fs from 'node:fs'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, checkPath, detached, type PathLike } from '@kiruna/priority/arguments'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/priority/chunks'
import { largestFileBytes } from '@kiruna/priority/content'
import { parseFlags } from '@kiruna/priority/flags'
import { InUse } from '@kiruna/priority/in-use'
import { pieceBytes } from '@kiruna/priority/lane'
import {
  type ReadManyOptions,
  type ReadResult,
  type ReadUpTo,
  readMany as readManyWith,
} from '@kiruna/priority/read-many'
import { type Failure, PoolOperation, type Reject, type Resolve, withPath } from './pool.ts'
import { ReadAll } from './read-all.ts'

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
 * @see stat(2)
 */
export function stat(path: PathLike, caller: Caller): Promise<Stats> {
  return new Promise((resolve, reject) => {
    new Stat(-1, checkPath(path), undefined, caller, resolve, reject).begin(0)
  })
}

/**
 * The entries of a folder.
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
   * @throws EBADF, EIO, EISDIR, EINVAL … (`err.code`). An abort rejects when libuv is done with the buffer,
   *   whose content is then undefined
   * @see pread(2)
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const [fd, path, direct, inUse] = [this.fd, this.#path, this.#direct, this.#inUse]
      const read = new Read(fd, path, direct, buffer, position, inUse, caller, resolve, reject)
      inUse.enter('read')
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
      const fstat = new Stat(this.fd, this.#path, this.#inUse, caller, resolve, reject)
      this.#inUse.enter('fstat')
      fstat.begin(0)
    })
  }

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see close(2)
   */
  close(): Promise<void> {
    return this.#inUse.close(
      () =>
        new Promise((resolve, reject) => {
          fs.close(this.fd, error => (error ? reject(withPath(error, this.#path)) : resolve()))
        }),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

class Open extends PoolOperation<File> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #mode: number

  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    caller: Caller,
    resolve: Resolve<File>,
    reject: Reject,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#mode = mode
  }

  start(): void {
    const direct = (this.#flags & fs.constants.O_DIRECT) !== 0
    fs.open(this.#path, this.#flags, this.#mode, (error, fd) => {
      // The close of what nobody wants any more holds a pool thread too: until then it stays in the lane.
      if (error === null && this.aborted) return fs.close(fd, () => this.leave())
      this.leave()
      if (error === null) this.succeed(new File(fd, this.#path, direct))
      else this.fail(error)
    })
  }

  end(): void {}
}

class Read extends PoolOperation<number> {
  protected readonly ownsBuffer = false
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  readonly #inUse: InUse
  #doneBytes = 0

  constructor(
    fd: number,
    path: string | Buffer,
    direct: boolean,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    inUse: InUse,
    caller: Caller,
    resolve: Resolve<number>,
    reject: Reject,
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
    const askedBytes = Math.min(this.#lengthBytes - done, this.mostBytes)
    fs.read(this.#fd, this.#buffer, done, askedBytes, this.#position + done, (error, bytes) => {
      this.leave()
      if (error !== null) this.fail(withPath(error, this.#path))
      else if (this.aborted) this.fail(undefined)
      else {
        this.#doneBytes += bytes
        // After a short direct read the next would begin unaligned: it was the end.
        const ended =
          bytes === 0 || this.#doneBytes === this.#lengthBytes || (this.#direct && bytes < askedBytes)
        if (!ended) return this.enter(this.pieceBytes)
        this.succeed(this.#doneBytes)
      }
      this.end()
    })
  }

  end(): void {
    this.#inUse.leave()
  }
}

class Stat extends PoolOperation<Stats> {
  protected readonly ownsBuffer = true
  readonly #fd: number
  readonly #path: string | Buffer
  readonly #inUse: InUse | undefined

  /** @param fd −1: by path; otherwise `path` is for errors only */
  constructor(
    fd: number,
    path: string | Buffer,
    inUse: InUse | undefined,
    caller: Caller,
    resolve: Resolve<Stats>,
    reject: Reject,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#path = path
    this.#inUse = inUse
  }

  start(): void {
    if (this.#fd === -1) fs.stat(this.#path, this.#completed)
    else fs.fstat(this.#fd, this.#completed)
  }

  readonly #completed = (error: Failure, stats: Stats): void => {
    this.leave()
    if (error === null) this.succeed(stats)
    else this.fail(withPath(error, this.#path))
    this.end()
  }

  end(): void {
    this.#inUse?.leave()
  }
}

class Readdir extends PoolOperation<Dirent[]> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer

  constructor(path: string | Buffer, caller: Caller, resolve: Resolve<Dirent[]>, reject: Reject) {
    super(caller, resolve, reject)
    this.#path = path
  }

  start(): void {
    fs.readdir(this.#path, { withFileTypes: true }, (error, entries) => {
      this.leave()
      if (error === null) this.succeed(entries)
      else this.fail(error)
    })
  }

  end(): void {}
}
