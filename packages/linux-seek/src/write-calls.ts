import * as fs from 'node:fs'
import type { WriteCalls } from '@kiruna/fs-seek/write-all'
import { RingOperation } from '@kiruna/linux-uring/operation'
import { cString, EINVAL, EOPNOTSUPP } from '@kiruna/linux-uring/sqe'
import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import type { Operation } from '@kiruna/priority/operation'
import type { File } from './file.ts'
import { Open } from './open.ts'
import { PoolCall } from '@kiruna/node-libuv/pool'
import { Statx } from './statx.ts'
import { Fsync, Write } from './write.ts'

type Resolve<T> = (value: T) => void
type Reject = (reason: unknown) => void

/** One step of a writeAll that has begun: it goes before what has not. */
function step<T>(make: (resolve: Resolve<T>, reject: Reject) => Operation<T>, bytes = 0): Promise<T> {
  return new Promise((resolve, reject) => {
    const operation = make(resolve, reject)
    operation.isContinuation = true
    operation.begin(bytes)
  })
}

/** io_uring can neither read a link nor change an owner or a mode: what only some files need is node:fs's. */
export const calls: WriteCalls<File> = {
  open: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, false, caller, resolve, reject)),
  create: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, true, caller, resolve, reject)),
  lstat: (path, caller) =>
    new Promise((resolve, reject) =>
      new Statx('lstat', -1, path, undefined, caller, resolve, reject).begin(0),
    ),
  stat: (path, caller) =>
    new Promise((resolve, reject) =>
      new Statx('stat', -1, path, undefined, caller, resolve, reject).begin(0),
    ),
  fstat: ({ fd }, caller) =>
    step((resolve, reject) => new Statx('fstat', fd, '', undefined, caller, resolve, reject)),
  readlink: (path, caller) =>
    step((resolve, reject) => {
      const call = (done: (error: NodeJS.ErrnoException | null, text: Buffer) => void) =>
        fs.readlink(path, 'buffer', done)
      return new PoolCall(call, { path }, caller, resolve, reject)
    }),
  write: ({ fd }, bytes, position, caller) =>
    new Promise((resolve, reject) => {
      const write = new Write(fd, '', bytes, position, undefined, caller, resolve, reject)
      write.isContinuation = true
      write.begin(write.nextBytes)
    }),
  fsync: ({ fd }, caller) => step((resolve, reject) => new Fsync(fd, '', undefined, caller, resolve, reject)),
  writeBack: ({ fd }, position, lengthBytes, caller) =>
    step((resolve, reject) => new WriteBack(fd, position, lengthBytes, caller, resolve, reject)),
  fchown: ({ fd }, uid, gid, caller) =>
    step(
      (resolve, reject) =>
        new PoolCall<void>(done => fs.fchown(fd, uid, gid, done), { path: '', changes: true }, caller, resolve, reject),
    ),
  fchmod: ({ fd }, mode, caller) =>
    step(
      (resolve, reject) =>
        new PoolCall<void>(done => fs.fchmod(fd, mode, done), { path: '', changes: true }, caller, resolve, reject),
    ),
  rename: (from, to, caller) => step((resolve, reject) => new Rename(from, to, caller, resolve, reject)),
  unlink: (path, caller) => step((resolve, reject) => new Unlink(path, caller, resolve, reject)),
}

/** @see sync_file_range(2) */
class WriteBack extends RingOperation<void> {
  protected readonly ownsBuffer = true
  readonly #fd: number
  readonly #position: number
  readonly #lengthBytes: number

  constructor(
    fd: number,
    position: number,
    lengthBytes: number,
    caller: Caller,
    resolve: () => void,
    reject: Reject,
  ) {
    super(caller, resolve, reject)
    this.#fd = fd
    this.#position = position
    this.#lengthBytes = lengthBytes
  }

  start(): void {
    this.ring.syncFileRange(this.#fd, this.#position, this.#lengthBytes, this)
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    // A file system without it is no failure: the fsync at the end is what counts.
    if (result < 0 && result !== EINVAL && result !== EOPNOTSUPP)
      this.fail(systemError(result, 'sync_file_range'))
    else this.succeed(undefined)
  }

  end(): void {}
}

/** @see renameat(2) */
class Rename extends RingOperation<void> {
  protected readonly ownsBuffer = false // an abort waits for what the kernel says: it may have been done
  readonly #from: Buffer
  readonly #to: Buffer

  constructor(from: Buffer, to: Buffer, caller: Caller, resolve: () => void, reject: Reject) {
    super(caller, resolve, reject)
    this.#from = cString(from)
    this.#to = cString(to)
  }

  start(): void {
    this.ring.renameat(this.#from, this.#to, this)
  }

  /** It takes no time, and one that is interrupted may have been done or not. */
  protected override stop(): void {}

  complete(result: number): void {
    this.leave()
    if (result < 0) this.fail(systemError(result, 'rename'))
    else this.commit(undefined)
  }

  end(): void {}
}

/** @see unlinkat(2) */
class Unlink extends RingOperation<void> {
  protected readonly ownsBuffer = false
  readonly #path: Buffer

  constructor(path: Buffer, caller: Caller, resolve: () => void, reject: Reject) {
    super(caller, resolve, reject)
    this.#path = cString(path)
  }

  start(): void {
    this.ring.unlinkat(this.#path, this)
  }

  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result < 0) this.fail(systemError(result, 'unlink'))
    else this.commit(undefined)
  }

  end(): void {}
}
