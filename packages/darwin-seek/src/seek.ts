import { constants, Dirent, type Stats } from 'node:fs'
import { dispatcher } from '@kiruna/darwin-dispatch/dispatch'
import { fdOwner, type Native } from '@kiruna/darwin-dispatch/native'
import {
  Call,
  Close,
  DispatchOperation,
  nothing,
  Open,
  OpenFile,
  type Opening,
  pathBytes,
} from '@kiruna/darwin-dispatch/operation'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import type { OpenOptions } from '@kiruna/fs-seek'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import {
  type ReadManyOptions,
  type ReadResult,
  type ReadUpTo,
  readMany as readManyWith,
} from '@kiruna/fs-seek/read-many'
import {
  type WriteAllOptions,
  type WriteCalls,
  type WriteData,
  writeAll as writeAllWith,
} from '@kiruna/fs-seek/write-all'
import type { Asker, Caller, Rank } from '@kiruna/priority'
import { checkInteger, checkPath, ownOptions, type PathLike } from '@kiruna/priority/arguments'
import { largestFileBytes, systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { promised } from '@kiruna/priority/operation'
import { checkAllowed, checkAllowedToOpen } from '@kiruna/priority/permission'
import { File, Write } from './file.ts'

export type * from '@kiruna/fs-seek'
export { File } from './file.ts'

/** Opens a file, close-on-exec. @see open(2) */
export function open(path: PathLike, caller: Caller, options?: OpenOptions): Promise<File> {
  return promised((resolve, reject) => {
    const { flags = 'r', mode = 0o666 } = ownOptions(options)
    const name = checkPath(path)
    const permissions = checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    const openFlags = parseFlags(flags)
    checkAllowedToOpen(name, openFlags)
    return new Open(
      { path: name, flags: openFlags, mode: permissions },
      (_status, fd) => new File(new OpenFile(fd, name)),
      caller,
      resolve,
      reject,
    ).run()
  })
}

/** Reads a whole file, also one that does not know its size. @see open(2), pread(2) */
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

const readUpTo: ReadUpTo = (maxBytes, path, caller, resolve, reject) => {
  const name = checkPath(path)
  checkAllowed('fs.read', name)
  return new ReadAll(name, maxBytes, caller, resolve, reject).begin(maxPieceBytes)
}

/** The status of a file; a symbolic link is followed. @see stat(2) */
export function stat(path: PathLike, caller: Caller): Promise<Stats> {
  return promised((resolve, reject) => {
    const name = checkPath(path)
    checkAllowed('fs.read', name)
    return new Call(
      { syscall: 'stat', path: name },
      (native, id, rank) => native.stat(id, rank, pathBytes(name), true),
      statsOf,
      caller,
      resolve,
      reject,
    ).run()
  })
}

/** The entries of a folder. @see readdir(3) */
export function readdir(path: PathLike, caller: Caller): Promise<Dirent[]> {
  return promised((resolve, reject) => {
    const name = checkPath(path)
    checkAllowed('fs.read', name)
    return new Call(
      { syscall: 'scandir', path: name },
      (native, id, rank) => native.readdir(id, rank, pathBytes(name)),
      entries => direntsOf(entries, name),
      caller,
      resolve,
      reject,
    ).run()
  })
}

/** Replaces a file's whole content with `data`, or leaves the file as it was. @see fcntl(2): F_FULLFSYNC, rename(2) */
export function writeAll(
  path: PathLike,
  data: WriteData,
  caller: Caller,
  options?: WriteAllOptions,
): Promise<void> {
  return writeAllWith(writeCalls, path, data, caller, options)
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  dispatcher()
}

/**
 * open, read, close. A short read has found the end. One admission by the lane covers the open and the first piece:
 * most files need no more. The size is asked for only if a file fills its first two buffers.
 */
class ReadAll extends DispatchOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'fstat' = 'open'
  #fd = -1
  #content: GrowingBuffer | undefined = undefined
  #askedBytes = 0

  constructor(
    path: string | Buffer,
    maxBytes: number,
    caller: Caller,
    resolve: (bytes: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#maxBytes = maxBytes
  }

  start(): void {
    const { gcd, rank } = this
    const { native } = gcd
    if (this.#step === 'open') {
      native.open(gcd.begin(this), rank, pathBytes(this.#path), constants.O_RDONLY, 0, false)
    } else if (this.#step === 'fstat') native.fstat(gcd.begin(this), rank, this.#fd)
    else {
      const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
      const position = content.lengthBytes
      const bytes = (this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes))
      const address = gcd.addressOf(content.memory) + position
      native.read(gcd.begin(this), rank, this.#fd, address, bytes, position, fdOwner.ours, false)
    }
  }

  complete(result: number, status: Buffer | undefined): void {
    if (this.#step === 'open' && result >= 0) this.#fd = result
    try {
      if (this.aborted) this.#finish()
      else if (this.retry(result, () => this.start())) return
      else if (result < 0) throw systemError(result, this.#step, this.#path)
      else this.#next(result, status)
    } catch (error) {
      this.fail(error) // the system's, or the file is too large, or there is no memory
      this.#finish()
    }
  }

  #next(result: number, status: Buffer | undefined): void {
    const content = this.#content
    if (content === undefined) {
      this.#step = 'read' // within the same admission
      this.start()
    } else if (this.#step === 'fstat') {
      const stats = statsOf(status!)
      content.expect(stats.size, stats.isFile())
      if (content.isComplete) this.#done(content)
      else this.#enterAgain('read', maxPieceBytes)
    } else {
      content.add(result)
      if (result < this.#askedBytes || content.isComplete) this.#done(content)
      else if (content.outgrown) this.#enterAgain('fstat', 0)
      else this.#enterAgain('read', maxPieceBytes)
    }
  }

  #done(content: GrowingBuffer): void {
    this.succeed(content.take(), content.lengthBytes)
    this.#finish()
  }

  #enterAgain(step: 'read' | 'fstat', bytes: number): void {
    this.#step = step
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  #finish(): void {
    this.leave()
    this.end()
  }

  end(): void {
    if (this.#fd !== -1) new Close(this.#fd)
    this.#content?.release()
    this.#content = undefined
  }
}

/** writeAll's system calls. */
const writeCalls: WriteCalls<OpenFile> = {
  open: (path, flags, mode, asker) => openFile({ path, flags, mode }, asker),
  create: (path, flags, mode, asker) => openFile({ path, flags, mode, changes: true }, asker),
  lstat: (path, asker) =>
    call('lstat', (native, id, rank) => native.stat(id, rank, path, false), statsOf, asker),
  stat: (path, asker) =>
    call('stat', (native, id, rank) => native.stat(id, rank, path, true), statsOf, asker),
  fstat: ({ fd }, asker) => call('fstat', (native, id, rank) => native.fstat(id, rank, fd), statsOf, asker),
  readlink: (path, asker) =>
    call('readlink', (native, id, rank) => native.readlink(id, rank, path), identity, asker),
  write: (file, bytes, position, asker) =>
    new Promise((resolve, reject) => new Write(file, bytes, position, asker, resolve, reject).run('write')),
  fsync: ({ fd }, asker) => change('fsync', (native, id, rank) => native.fsync(id, rank, fd, true), asker),
  // macOS has no sync_file_range. Its fsync(2) leaves the bytes in the disk's own cache, which is enough here.
  writeBack: ({ fd }, _position, _lengthBytes, asker) =>
    change('fsync', (native, id, rank) => native.fsync(id, rank, fd, false), asker),
  fchown: ({ fd }, uid, gid, asker) =>
    change('fchown', (native, id, rank) => native.fchown(id, rank, fd, uid, gid), asker),
  fchmod: ({ fd }, mode, asker) =>
    change('fchmod', (native, id, rank) => native.fchmod(id, rank, fd, mode), asker),
  rename: (from, to, asker) =>
    change('rename', (native, id, rank) => native.rename(id, rank, from, to), asker),
  unlink: (path, asker) => change('unlink', (native, id, rank) => native.unlink(id, rank, path), asker),
}

type MakeCall = (native: Native, id: number, rank: Rank) => void

function openFile(opening: Opening, asker: Asker): Promise<OpenFile> {
  const opened = (_status: Buffer, fd: number) => new OpenFile(fd, opening.path)
  return promised((resolve, reject) => new Open(opening, opened, asker, resolve, reject).run())
}

function call<T>(syscall: string, make: MakeCall, toValue: (value: Buffer) => T, asker: Asker): Promise<T> {
  return promised((resolve, reject) => new Call({ syscall }, make, toValue, asker, resolve, reject).run())
}

function change(syscall: string, make: MakeCall, asker: Asker): Promise<void> {
  const about = { syscall, changes: true }
  return promised((resolve, reject) => new Call(about, make, nothing, asker, resolve, reject).run())
}

function identity(value: Buffer): Buffer {
  return value
}

// A Dirent's kind is behind a symbol, and only the constructor sets it. So node:fs's constructor is called as node:fs
// does (lib/internal/fs/utils.js, the same in Node 20, 22 and 24). The kinds are libuv's.
const NodeDirent = Dirent as unknown as new (name: string, kind: number, folder: string | Buffer) => Dirent
/** dirent(5)'s DT_FIFO, DT_CHR, DT_DIR, DT_BLK, DT_REG, DT_LNK, DT_SOCK as uv_dirent_type_t */
const kinds = new Map([
  [1, 4],
  [2, 6],
  [4, 2],
  [6, 7],
  [8, 1],
  [10, 3],
  [12, 5],
])

/** A folder's entries, sorted by name as in node:fs. The addon gives for each its kind, its name and a 0. */
function direntsOf(bytes: Buffer, folder: string | Buffer): Dirent[] {
  const entries: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at + 1)
    entries.push(bytes.subarray(at, end))
    at = end + 1
  }
  entries.sort((a, b) => Buffer.compare(a.subarray(1), b.subarray(1)))
  return entries.map(entry => new NodeDirent(entry.toString('utf8', 1), kinds.get(entry[0]!) ?? 0, folder))
}
