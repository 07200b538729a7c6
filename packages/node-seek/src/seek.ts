import type { Dirent, Stats } from 'node:fs'
import * as fs from 'node:fs'
import type { OpenOptions, PathLike, Seek } from '@kiruna/fs-seek'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import { type ReadUpTo, readMany as readManyWith } from '@kiruna/fs-seek/read-many'
import { type WriteCalls, writeAll as writeAllWith } from '@kiruna/fs-seek/write-all'
import { type Done, type Failure, PoolCall, PoolOperation, pooled, withPath } from '@kiruna/node-libuv/pool'
import { Write } from '@kiruna/node-libuv/transfer'
import type { Caller } from '@kiruna/priority'
import { checkInteger, checkPath, ownOptions } from '@kiruna/priority/arguments'
import { errnoOf, largestFileBytes } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { promised } from '@kiruna/priority/operation'
import { File } from './file.ts'

export type * from '@kiruna/fs-seek'
export { File }

const ESPIPE = errnoOf('ESPIPE')

/** Opens a file, close-on-exec. @see open(2) */
export function open(path: PathLike, caller: Caller, options?: OpenOptions): Promise<File> {
  return promised((resolve, reject) => {
    const { flags = 'r', mode = 0o666 } = ownOptions(options)
    const name = checkPath(path)
    const permissions = checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    return new Open(name, parseFlags(flags), permissions, false, caller, resolve, reject).begin(0)
  })
}

/** Reads a whole file, also one that does not know its size, as in /proc. @see open(2), pread(2) */
export function readAll(path: PathLike, caller: Caller): Promise<Buffer> {
  return promised((resolve, reject) => readUpTo(largestFileBytes, path, caller, resolve, reject))
}

const readUpTo: ReadUpTo = (maxBytes, path, caller, resolve, reject) => {
  return new ReadAll(checkPath(path), maxBytes, caller, resolve, reject).begin(maxPieceBytes)
}

/** Reads many files, in the order in which they complete: each is one operation, without a promise of its own. */
export const readMany: Seek['readMany'] = (paths, caller, options) =>
  readManyWith(readUpTo, paths, caller, options)

/** The status of a file; a symbolic link is followed. @see stat(2) */
export function stat(path: PathLike, caller: Caller): Promise<Stats> {
  return promised((resolve, reject) => {
    const name = checkPath(path)
    return new PoolCall<Stats>(done => fs.stat(name, done), { path: name }, caller, resolve, reject).begin(0)
  })
}

/** The entries of a folder. @see readdir(3) */
export function readdir(path: PathLike, caller: Caller): Promise<Dirent[]> {
  return promised((resolve, reject) => {
    const name = checkPath(path)
    const list = (done: Done<Dirent[]>) => fs.readdir(name, { withFileTypes: true }, done)
    return new PoolCall(list, { path: name }, caller, resolve, reject).begin(0)
  })
}

/**
 * Replaces a file's whole content with `data`. On Windows it does not wait for the folder to be on the disk: node:fs
 * has no call for that.
 * @see pwrite(2), fsync(2), rename(2)
 */
export const writeAll: Seek['writeAll'] = (path, data, caller, options) =>
  writeAllWith(calls, path, data, caller, options)

// writeAll puts its own path into their errors.
const reads = { path: '' }
const changes = { path: '', changes: true }

const calls: WriteCalls<File> = {
  open: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => new Open(path, flags, mode, false, asker, resolve, reject).begin(0)),
  create: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => new Open(path, flags, mode, true, asker, resolve, reject).begin(0)),
  lstat: (path, asker) => pooled(done => fs.lstat(path, done), reads, asker),
  stat,
  fstat: (file, asker) => file.stat(asker),
  readlink: (path, asker) => pooled(done => fs.readlink(path, 'buffer', done), reads, asker),
  write: ({ fd }, bytes, position, asker) =>
    new Promise((resolve, reject) =>
      new Write({ fd, path: '' }, bytes, position, asker, resolve, reject).run('write'),
    ),
  fsync: (file, asker) => file.sync(asker),
  // node:fs has no sync_file_range.
  writeBack: ({ fd }, _position, _lengthBytes, asker) =>
    pooled(done => fs.fdatasync(fd, done), changes, asker),
  fchown: ({ fd }, uid, gid, asker) => pooled(done => fs.fchown(fd, uid, gid, done), changes, asker),
  fchmod: ({ fd }, mode, asker) => pooled(done => fs.fchmod(fd, mode, done), changes, asker),
  rename: (from, to, asker) => pooled(done => fs.rename(from, to, done), changes, asker),
  unlink: (path, asker) => pooled(done => fs.unlink(path, done), changes, asker),
}

/** @see open(2) */
class Open extends PoolOperation<File> {
  protected readonly ownsBuffer: boolean
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #mode: number

  /** @param changes an abort that comes too late still resolves with the file: it has been made, or emptied */
  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    changes: boolean,
    caller: Caller,
    resolve: (value: File) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#mode = mode
    this.ownsBuffer = !changes
  }

  start(): void {
    const direct = (this.#flags & fs.constants.O_DIRECT) !== 0
    fs.open(this.#path, this.#flags, this.#mode, (error, fd) => {
      // The close of an unwanted fd takes a pool thread too: it stays counted in the lane until then.
      if (error === null && this.aborted && this.ownsBuffer) return fs.close(fd, () => this.leave())
      this.leave()
      if (error === null) this.commit(new File(fd, this.#path, direct))
      else if (!this.retry(error.errno!, () => this.enter(0))) this.fail(error)
    })
  }

  end(): void {}
}

/**
 * open, read until 0, close. One admission by the lane covers the open, the first piece and, if that was short, the
 * read that finds the end: most files need no more. The size is asked for only if a file fills its first two buffers.
 */
class ReadAll extends PoolOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #fd = -1
  #content: GrowingBuffer | undefined = undefined
  #askedBytes = 0
  #hasPositions = true
  /** One admission covers one read after a short one, the one that finds the end: it has been made. */
  #endReadMade = false

  constructor(
    path: string | Buffer,
    maxBytes: number,
    caller: Caller,
    resolve: (value: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#maxBytes = maxBytes
  }

  start(): void {
    if (this.#fd === -1) {
      fs.open(this.#path, 'r', this.#opened)
      return
    }
    const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
    if (content.outgrown) {
      fs.fstat(this.#fd, this.#measured)
      return
    }
    this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes)
    const { memory, lengthBytes } = content
    const position = this.#hasPositions ? lengthBytes : null
    fs.read(this.#fd, memory, lengthBytes, this.#askedBytes, position, this.#transferred)
  }

  readonly #opened = (error: Failure, fd: number): void => {
    if (error === null) this.#fd = fd
    this.#continue(error, () => this.start())
  }

  readonly #measured = (error: Failure, stats: Stats): void => {
    this.#continue(error, content => {
      content.expect(stats.size, stats.isFile())
      if (content.isComplete) this.#done(content)
      else this.#enterAgain(maxPieceBytes)
    })
  }

  readonly #transferred = (error: Failure, bytes: number): void => {
    if (error?.errno === ESPIPE && this.#hasPositions) {
      this.#hasPositions = false // a pipe, a terminal
      this.#continue(null, () => this.start())
      return
    }
    this.#continue(error, content => {
      content.add(bytes)
      if (bytes === 0 || content.isComplete) this.#done(content)
      else if (content.outgrown) this.#enterAgain(0)
      else if (bytes < this.#askedBytes && !this.#endReadMade) {
        this.#endReadMade = true
        this.start()
      } else this.#enterAgain(maxPieceBytes)
    })
  }

  /** Runs `next` if the file is still wanted: it makes a call within the same admission, or asks the lane again. */
  #continue(error: Failure, next: (content: GrowingBuffer) => void): void {
    try {
      if (error !== null) throw withPath(error, this.#path)
      if (this.aborted) this.end()
      else next(this.#content!)
    } catch (error) {
      this.fail(error) // the system's, or the file is too large, or there is no memory
      this.end()
    }
  }

  /** When it resolves, nothing holds the file any more: its disk can be unmounted. */
  #done(content: GrowingBuffer): void {
    const value = content.take()
    fs.close(this.#fd, () => {
      this.leave()
      this.succeed(value, value.length)
    })
    this.#fd = -2
    this.end()
  }

  #enterAgain(bytes: number): void {
    this.#endReadMade = false
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  /** The close takes a pool thread too: the operation stays counted in the lane until then. */
  end(): void {
    this.#content?.release()
    this.#content = undefined
    if (this.#fd === -1) this.leave()
    else if (this.#fd >= 0) fs.close(this.#fd, () => this.leave())
  }
}
