import * as fs from 'node:fs'
import type { OpenOptions, WriteData } from '@kiruna/fs-seek'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import {
  type ReadManyOptions,
  type ReadResult,
  type ReadUpTo,
  readMany as readManyWith,
} from '@kiruna/fs-seek/read-many'
import { type WriteAllOptions, type WriteCalls, writeAll as writeAllWith } from '@kiruna/fs-seek/write-all'
import { pooled } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { checkInteger, checkPath, ownOptions, type PathLike } from '@kiruna/priority/arguments'
import { largestFileBytes, systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { promised } from '@kiruna/priority/operation'
import { checkAllowed, checkAllowedToOpen } from '@kiruna/priority/permission'
import { port } from '@kiruna/win-iocp/iocp'
import { Close, createFile, nothing, OpenFile, widePath } from '@kiruna/win-iocp/open-file'
import { bytesAt, PortCall, PortOperation } from '@kiruna/win-iocp/operation'
import { File, Write } from './file.ts'

export type * from '@kiruna/fs-seek'
export { File } from './file.ts'

type Resolve<T> = (value: T) => void
type Reject = (reason: unknown) => void

/**
 * Opens a file. Others may read, write, rename and delete it meanwhile; child processes do not inherit it.
 * @param options only the owner's right to write counts in a `mode`
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew
 */
export function open(path: PathLike, caller: Caller, options?: OpenOptions): Promise<File> {
  return promised((resolve, reject) => {
    const { flags = 'r', mode = 0o666 } = ownOptions(options)
    const name = checkPath(path)
    const permissions = checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    const openFlags = parseFlags(flags)
    checkAllowedToOpen(name, openFlags)
    return opening(name, openFlags, permissions, false, caller, resolve, reject).run()
  })
}

/**
 * Reads a whole file.
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
 */
export function readAll(path: PathLike, caller: Caller): Promise<Buffer> {
  return promised((resolve, reject) => readUpTo(largestFileBytes, path, caller, resolve, reject))
}

/** Reads many files, in the order in which they complete. */
export function readMany(
  paths: Iterable<PathLike> | AsyncIterable<PathLike>,
  caller: Caller,
  options?: ReadManyOptions,
): AsyncIterableIterator<ReadResult, undefined, undefined> {
  return readManyWith(readUpTo, paths, caller, options)
}

/** The status of a file: node:fs's stat, on a thread of libuv's pool. @see stat(2) */
export async function stat(path: PathLike, caller: Caller): Promise<fs.Stats> {
  const name = checkPath(path)
  check()
  return pooled(done => fs.stat(name, done), { path: name }, caller)
}

/** The entries of a folder: node:fs's readdir, on a thread of libuv's pool. @see readdir(3) */
export async function readdir(path: PathLike, caller: Caller): Promise<fs.Dirent[]> {
  const name = checkPath(path)
  check()
  return pooled(done => fs.readdir(name, { withFileTypes: true }, done), { path: name }, caller)
}

/**
 * Replaces a file's whole content with `data`: the file holds all of the old content or all of the new.
 * @see https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexw
 */
export function writeAll(
  path: PathLike,
  data: WriteData,
  caller: Caller,
  options?: WriteAllOptions,
): Promise<void> {
  return writeAllWith(calls, path, data, caller, options)
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  port()
}

/** @param changes an abort that comes too late still resolves with the file: it has been made, or emptied */
function opening(
  path: string | Buffer,
  flags: number,
  mode: number,
  changes: boolean,
  caller: Caller,
  resolve: Resolve<File>,
  reject: Reject,
): PortCall<File> {
  return new PortCall(
    { syscall: 'open', path, changes, resultIsFile: true },
    (native, slot, rank) => createFile(native, slot, rank, path, flags, mode),
    handle => new File(new OpenFile(handle, path, flags)),
    caller,
    resolve,
    reject,
  )
}

const readUpTo: ReadUpTo = (maxBytes, path, caller, resolve, reject) => {
  const name = checkPath(path)
  checkAllowed('fs.read', name)
  return new ReadAll(name, maxBytes, caller, resolve, reject).begin(maxPieceBytes)
}

/**
 * open, read until 0, close. One admission by the lane covers the open, the first piece and, if that was short, the
 * read that finds the end: most files need no more. The size is asked for only if a file fills its first two buffers.
 */
class ReadAll extends PortOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'fstat' = 'open'
  #handle = -1
  #content: GrowingBuffer | undefined = undefined
  #askedBytes = 0
  /** One admission covers one read after a short one, the one that finds the end: it has been made. */
  #endReadMade = false

  constructor(
    path: string | Buffer,
    maxBytes: number,
    caller: Caller,
    resolve: Resolve<Buffer>,
    reject: Reject,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#maxBytes = maxBytes
  }

  start(): void {
    const { port, rank } = this
    const { native } = port
    if (this.#step === 'open')
      createFile(native, port.begin(this), rank, this.#path, fs.constants.O_RDONLY, 0)
    else if (this.#step === 'fstat') native.fileSize(port.begin(this), rank, this.#handle)
    else {
      const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
      const { lengthBytes } = content
      this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes)
      const bytes = bytesAt(content.memory, lengthBytes, this.#askedBytes)
      native.read(port.begin(this), rank, this.#handle, bytes, lengthBytes)
    }
  }

  complete(result: number): void {
    if (this.#step === 'open' && result >= 0) this.#handle = result
    try {
      if (this.aborted) this.#finish()
      else if (this.retry(result, () => this.start())) return
      else if (result < 0) throw systemError(result, this.#step, this.#path)
      else this.#next(result)
    } catch (error) {
      this.fail(error) // the system's, or the file is too large, or there is no memory
      this.#finish()
    }
  }

  #next(result: number): void {
    const content = this.#content
    if (content === undefined) this.#readWithinAdmission()
    else if (this.#step === 'fstat') {
      content.expect(result, true)
      if (content.isComplete) this.#done(content)
      else this.#enterAgain('read', maxPieceBytes)
    } else if (result === 0) this.#done(content)
    else {
      content.add(result)
      if (content.isComplete) this.#done(content)
      else if (content.outgrown) this.#enterAgain('fstat', 0)
      else if (result < this.#askedBytes && !this.#endReadMade) this.#readWithinAdmission()
      else this.#enterAgain('read', maxPieceBytes)
    }
  }

  #done(content: GrowingBuffer): void {
    this.succeed(content.take(), content.lengthBytes)
    this.#finish()
  }

  #readWithinAdmission(): void {
    this.#endReadMade = this.#step === 'read'
    this.#step = 'read'
    this.start()
  }

  /** Enters the lane again, before what has not begun. */
  #enterAgain(step: 'read' | 'fstat', bytes: number): void {
    this.#step = step
    this.#endReadMade = false
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  #finish(): void {
    this.leave()
    this.end()
  }

  end(): void {
    if (this.#handle !== -1) new Close(this.#handle)
    this.#content?.release()
    this.#content = undefined
  }
}

/** A rename that is interrupted may have happened: it is neither cancelled nor tried again. */
class Rename extends PortCall<void> {
  protected override stop(): void {}

  protected override retry(): boolean {
    return false
  }
}

// writeAll puts its own path into their errors.
const reading = { path: '' }

const calls: WriteCalls<File> = {
  open: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => opening(path, flags, mode, false, asker, resolve, reject).run()),
  create: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => opening(path, flags, mode, true, asker, resolve, reject).run()),
  lstat: (path, asker) => pooled(done => fs.lstat(path, done), reading, asker),
  stat: (path, asker) => pooled(done => fs.stat(path, done), reading, asker),
  fstat: (file, asker) => file.stat(asker),
  readlink: (path, asker) => pooled(done => fs.readlink(path, 'buffer', done), reading, asker),
  write: (file, bytes, position, asker) =>
    new Promise((resolve, reject) =>
      new Write(File.openFileOf(file), bytes, position, asker, resolve, reject).run('write'),
    ),
  fsync: (file, asker) => file.sync(asker),
  // Windows cannot flush a part of a file.
  writeBack: (file, _position, _lengthBytes, asker) => file.sync(asker),
  // Windows has neither owners nor modes of this kind.
  fchown: async () => {},
  fchmod: async () => {},
  rename: (from, to, asker) =>
    new Promise((resolve, reject) =>
      new Rename(
        { syscall: 'rename', changes: true },
        (native, slot, rank) => native.moveFile(slot, rank, widePath(from), widePath(to)),
        nothing,
        asker,
        resolve,
        reject,
      ).run(),
    ),
  unlink: (path, asker) => pooled(done => fs.unlink(path, done), { path: '', changes: true }, asker),
}
