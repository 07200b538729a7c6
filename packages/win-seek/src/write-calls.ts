import * as fs from 'node:fs'
import type { WriteCalls } from '@kiruna/fs-seek/write-all'
import type { Caller } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import type { Operation } from '@kiruna/priority/operation'
import { widePath } from '@kiruna/win-iocp/create-file'
import { PortOperation } from '@kiruna/win-iocp/operation'
import { File } from './file.ts'
import { Open } from './open.ts'
import { PoolCall } from '@kiruna/node-libuv/pool'
import { Fsync, Write } from './write.ts'

type Resolve<T> = (value: T) => void
type Reject = (reason: unknown) => void
type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void

/** One step of a writeAll that has begun: it goes before what has not. */
function step<T>(make: (resolve: Resolve<T>, reject: Reject) => Operation<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const operation = make(resolve, reject)
    operation.isContinuation = true
    operation.begin(0)
  })
}

function pooled<T>(caller: Caller, call: (done: Done<T>) => void, changes = false): Promise<T> {
  return step((resolve, reject) => new PoolCall(call, { path: '', changes }, caller, resolve, reject))
}

export const calls: WriteCalls<File> = {
  open: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, false, caller, resolve, reject)),
  create: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, true, caller, resolve, reject)),
  lstat: (path, caller) => status(caller, done => fs.lstat(path, done)),
  stat: (path, caller) => status(caller, done => fs.stat(path, done)),
  fstat: (file, caller) => file.stat(caller),
  readlink: (path, caller) => pooled(caller, done => fs.readlink(path, 'buffer', done)),
  write: (file, bytes, position, caller) =>
    new Promise((resolve, reject) => {
      const write = new Write(File.handleOf(file), '', bytes, position, undefined, caller, resolve, reject)
      write.isContinuation = true
      write.begin(write.nextBytes)
    }),
  fsync: flush,
  // Windows has no call for a part of a file.
  writeBack: (file, _position, _lengthBytes, caller) => flush(file, caller),
  // Windows has neither owners nor modes of this kind.
  fchown: async () => {},
  fchmod: async () => {},
  rename: (from, to, caller) => step((resolve, reject) => new Rename(from, to, caller, resolve, reject)),
  unlink: (path, caller) => pooled(caller, done => fs.unlink(path, error => done(error)), true),
}

/** The first of a writeAll: it waits as what has not begun. */
function status(caller: Caller, call: (done: Done<fs.Stats>) => void): Promise<fs.Stats> {
  return new Promise((resolve, reject) =>
    new PoolCall(call, { path: '' }, caller, resolve, reject).begin(0),
  )
}

function flush(file: File, caller: Caller): Promise<void> {
  return step((resolve, reject) => new Fsync(File.handleOf(file), '', undefined, caller, resolve, reject))
}

/** @see https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexw */
class Rename extends PortOperation<void> {
  protected readonly ownsBuffer = false // an abort waits for what the system says: it may have been done
  readonly #from: Buffer
  readonly #to: Buffer

  constructor(from: Buffer, to: Buffer, caller: Caller, resolve: () => void, reject: Reject) {
    super(caller, resolve, reject)
    this.#from = from
    this.#to = to
  }

  start(): void {
    const { port, rank } = this
    port.native.moveFile(port.begin(this), rank, widePath(this.#from), widePath(this.#to))
  }

  protected override stop(): void {}

  complete(result: number): void {
    this.leave()
    if (result < 0) this.fail(systemError(result, 'rename'))
    else this.commit(undefined)
  }

  end(): void {}
}
