import * as fs from 'node:fs'
import type { OpenOptions, PathLike, Seek } from '@kiruna/fs-seek'
import { GrowingBuffer } from '@kiruna/fs-seek/growing-buffer'
import { type ReadUpTo, readMany as readManyWith } from '@kiruna/fs-seek/read-many'
import { type WriteCalls, writeAll as writeAllWith } from '@kiruna/fs-seek/write-all'
import { nothing, openat, RingCall, RingOperation, statsOf, statx } from '@kiruna/linux-uring/operation'
import { type Ring, ring } from '@kiruna/linux-uring/ring'
import {
  AT_FDCWD,
  cString,
  EINVAL,
  ENXIO,
  EOPNOTSUPP,
  prepFadvise,
  prepRead,
  prepRenameat,
  prepStatx,
  prepSyncFileRange,
  prepUnlinkat,
  punt,
  statxBytes,
} from '@kiruna/linux-uring/sqe'
import { pooled } from '@kiruna/node-libuv/pool'
import type { Caller, Rank } from '@kiruna/priority'
import { checkInteger, checkPath, ownOptions } from '@kiruna/priority/arguments'
import { largestFileBytes, systemError } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { promised } from '@kiruna/priority/operation'
import { checkAllowed, checkAllowedToOpen } from '@kiruna/priority/permission'
import { File, scanBytes, Write } from './file.ts'

export type * from '@kiruna/fs-seek'
export { File }

/** @see io_uring_prep_openat(3), open(2) */
export function open(path: PathLike, caller: Caller, options?: OpenOptions): Promise<File> {
  return promised((resolve, reject) => {
    const { flags = 'r', mode = 0o666 } = ownOptions(options)
    const name = checkPath(path)
    const permissions = checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    const openFlags = parseFlags(flags)
    checkAllowedToOpen(name, openFlags)
    return new Open(name, openFlags, permissions, 'disk', caller, resolve, reject).begin(0)
  })
}

/** @see open(2), pread(2) */
export function readAll(path: PathLike, caller: Caller): Promise<Buffer> {
  return promised((resolve, reject) => readUpTo(largestFileBytes, path, caller, resolve, reject))
}

const readUpTo: ReadUpTo = (maxBytes, path, caller, resolve, reject) => {
  const name = checkPath(path)
  checkAllowed('fs.read', name)
  return new ReadAll(name, maxBytes, caller, resolve, reject).begin(maxPieceBytes)
}

/** Each file is one operation, without a promise of its own. */
export const readMany: Seek['readMany'] = (paths, caller, options) =>
  readManyWith(readUpTo, paths, caller, options)

/** @see io_uring_prep_statx(3), statx(2) */
export function stat(path: PathLike, caller: Caller): Promise<fs.Stats> {
  return promised((resolve, reject) => {
    const name = checkPath(path)
    checkAllowed('fs.read', name)
    return statx('stat', AT_FDCWD, name, caller, resolve, reject).run()
  })
}

/** io_uring has no call for it: node:fs's own, behind the lane. @see readdir(3) */
export function readdir(path: PathLike, caller: Caller): Promise<fs.Dirent[]> {
  return new Promise(resolve => {
    const name = checkPath(path)
    resolve(pooled(done => fs.readdir(name, { withFileTypes: true }, done), { path: name }, caller))
  })
}

/** node:fs does what io_uring cannot: read a link, change an owner or a mode. @see pwrite(2), fsync(2), rename(2) */
export const writeAll: Seek['writeAll'] = (path, data, caller, options) =>
  writeAllWith(calls, path, data, caller, options)

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  ring()
}

class Open extends RingOperation<File> {
  protected readonly ownsBuffer: boolean
  readonly #path: string | Buffer
  readonly #flags: number
  readonly #mode: number
  readonly #account: string
  #name: Buffer | undefined = undefined // held until the kernel has read it
  #mayWait = false

  /**
   * @param account in the lane: of its disk, or of the calls by path, as all of a writeAll is, since otherwise many
   *   would have begun before one is done. Made: an abort that comes too late still resolves with the file, which has
   *   been made or emptied
   */
  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    account: 'disk' | 'paths' | 'paths, made',
    caller: Caller,
    resolve: (file: File) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#flags = flags
    this.#mode = mode
    this.#account = account
    this.ownsBuffer = account !== 'paths, made'
  }

  start(): void {
    this.#name = cString(this.#path)
    openat(this, this.#name, this.#flags, this.#mode, this.#mayWait)
  }

  complete(result: number): void {
    this.leave()
    if (
      result === ENXIO &&
      !this.#mayWait &&
      !this.aborted &&
      (this.#flags & fs.constants.O_NONBLOCK) === 0
    ) {
      // The open was tried without waiting: a FIFO that nobody reads says ENXIO, see fifo(7).
      this.#mayWait = true
      this.enter(0)
    } else if (result < 0) {
      if (!this.retry(result, () => this.enter(0))) this.fail(systemError(result, 'open', this.#path))
    } else if (this.aborted && this.ownsBuffer) this.ring.close(result)
    else {
      const isDirect = (this.#flags & fs.constants.O_DIRECT) !== 0
      this.commit(new File(result, this.#path, isDirect, this.#account === 'disk'))
    }
  }

  end(): void {}
}

/**
 * open, read until 0, close. One admission by the lane covers the open, the first piece and, if that was short, the
 * read that finds the end: most files need no more. The size is asked for only if a file fills its first two buffers.
 */
class ReadAll extends RingOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #step: 'open' | 'read' | 'fstat' | 'close' = 'open'
  #fd = -1
  #content: GrowingBuffer | undefined = undefined
  #memory: Buffer | undefined = undefined // held while the kernel reads the path, or writes the status
  #askedBytes = 0
  #value: Buffer | undefined = undefined
  /** One admission covers one read after a short one, the one that finds the end: it has been made. */
  #endReadMade = false
  #readsAhead = true

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
    if (this.#step === 'open') {
      this.#memory = cString(this.#path)
      openat(this, this.#memory, fs.constants.O_RDONLY, 0)
    } else if (this.#step === 'fstat') this.#statx()
    else this.#read()
  }

  #read(): void {
    const { ring } = this
    const content = (this.#content ??= new GrowingBuffer(this.#path, this.#maxBytes))
    const bytes = (this.#askedBytes = Math.min(content.makeRoom(), this.maxBytes))
    if (this.#readsAhead && this.laneRank > 1 && bytes >= scanBytes) {
      this.#readsAhead = false
      prepFadvise(ring, ring.sqe(this.#fd, undefined), false)
    }
    const address = ring.addressOf(content.memory) + content.lengthBytes
    const sqe = ring.sqe(this.#fd, this)
    prepRead(ring, sqe, address, bytes, content.lengthBytes)
    if (ring.mustPunt(this.#fd, bytes, this.laneRank)) punt(ring, sqe)
    ring.submitSoon(this.laneRank as Rank)
  }

  #statx(): void {
    const { ring } = this
    this.#memory = Buffer.allocUnsafe(statxBytes)
    prepStatx(ring, ring.sqe(this.#fd, this), undefined, this.#memory)
    ring.submitSoon(this.laneRank as Rank)
  }

  complete(result: number): void {
    if (this.#step === 'close') {
      this.succeed(this.#value!, this.#value!.length)
      return
    }
    if (this.#step === 'open' && result >= 0) this.#fd = result
    try {
      if (this.aborted) this.#finish()
      else if (this.retry(result, () => this.start())) return
      else if (result < 0) throw systemError(result, this.#step, this.#path)
      else this.#next(result)
    } catch (error) {
      this.fail(error) // the kernel's, or the file is too large, or there is no memory
      this.#finish()
    }
  }

  #next(result: number): void {
    const content = this.#content
    if (content === undefined) this.#readWithinAdmission()
    else if (this.#step === 'fstat') {
      const stats = statsOf(this.#memory!)
      content.expect(stats.size, stats.isFile())
      if (content.isComplete) this.#closeFirst(content)
      else this.#enterAgain('read', maxPieceBytes)
    } else if (result === 0) this.#closeFirst(content)
    else {
      content.add(result)
      if (content.isComplete) this.#closeFirst(content)
      else if (content.outgrown) this.#enterAgain('fstat', 0)
      else if (result < this.#askedBytes && !this.#endReadMade) this.#readWithinAdmission()
      else this.#enterAgain('read', maxPieceBytes)
    }
  }

  /** When it resolves, nothing holds the file any more: its disk can be unmounted. */
  #closeFirst(content: GrowingBuffer): void {
    this.#value = content.take()
    this.#step = 'close'
    this.leave()
    this.ring.close(this.#fd, this)
    this.#fd = -1
    this.end()
  }

  #readWithinAdmission(): void {
    this.#endReadMade = this.#step === 'read'
    this.#step = 'read'
    this.start()
  }

  #enterAgain(step: 'read' | 'fstat', bytes: number): void {
    this.#step = step
    this.#endReadMade = false
    this.isContinuation = true
    this.leave()
    this.enter(bytes)
  }

  /** A close is never cancelled. */
  protected override stop(): void {
    if (this.#step !== 'close') super.stop()
  }

  #finish(): void {
    this.leave()
    this.end()
  }

  end(): void {
    if (this.#fd !== -1) this.ring.close(this.#fd)
    this.#content?.release()
    this.#content = this.#memory = undefined
  }
}

/** A file system without it is no failure: the fsync at the end is what counts. */
class WriteBack extends RingCall<void> {
  override complete(result: number): void {
    super.complete(result === EINVAL || result === EOPNOTSUPP ? 0 : result)
  }
}

/** A rename is quick, and an interrupted one may have happened or not: it is neither cancelled nor tried again. */
class Rename extends RingCall<void> {
  protected override stop(): void {}

  protected override retry(): boolean {
    return false
  }
}

const changes = { path: '', changes: true }

const calls: WriteCalls<File> = {
  open: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => new Open(path, flags, mode, 'paths', asker, resolve, reject).begin(0)),
  create: (path, flags, mode, asker) =>
    new Promise((resolve, reject) =>
      new Open(path, flags, mode, 'paths, made', asker, resolve, reject).begin(0),
    ),
  lstat: (path, asker) =>
    new Promise((resolve, reject) => statx('lstat', AT_FDCWD, path, asker, resolve, reject).run()),
  stat: (path, asker) =>
    new Promise((resolve, reject) => statx('stat', AT_FDCWD, path, asker, resolve, reject).run()),
  fstat: (file, asker) => file.stat(asker),
  readlink: (path, asker) => pooled(done => fs.readlink(path, 'buffer', done), { path }, asker),
  write: ({ fd }, bytes, position, asker) =>
    new Promise((resolve, reject) =>
      new Write({ fd, path: '' }, bytes, position, asker, resolve, reject).run('write'),
    ),
  fsync: (file, asker) => file.sync(asker),
  writeBack: ({ fd }, position, lengthBytes, asker) =>
    new Promise<void>((resolve, reject) => {
      const prepare = (ring: Ring, call: RingCall<void>) =>
        prepSyncFileRange(ring, ring.sqe(fd, call), position, lengthBytes)
      new WriteBack({ syscall: 'sync_file_range' }, prepare, nothing, asker, resolve, reject).run()
    }),
  fchown: ({ fd }, uid, gid, asker) => pooled(done => fs.fchown(fd, uid, gid, done), changes, asker),
  fchmod: ({ fd }, mode, asker) => pooled(done => fs.fchmod(fd, mode, done), changes, asker),
  async copyAttributes(from, to) {
    const result = ring().native.copyAttributes(from.fd, to.fd)
    if (result < 0) throw systemError(result, 'fsetxattr')
  },
  rename: (from, to, asker) =>
    new Promise((resolve, reject) => {
      const [source, target] = [cString(from), cString(to)]
      const prepare = (ring: Ring, call: RingCall<void>) =>
        prepRenameat(ring, ring.sqe(AT_FDCWD, call), source, target)
      new Rename({ syscall: 'rename', changes: true }, prepare, nothing, asker, resolve, reject).run()
    }),
  unlink: (path, asker) =>
    new Promise((resolve, reject) => {
      const name = cString(path)
      const prepare = (ring: Ring, call: RingCall<void>) => prepUnlinkat(ring, ring.sqe(AT_FDCWD, call), name)
      new RingCall({ syscall: 'unlink', changes: true }, prepare, nothing, asker, resolve, reject).run()
    }),
}
