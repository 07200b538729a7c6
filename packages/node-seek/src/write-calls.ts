import * as fs from 'node:fs'
import type { WriteCalls } from '@kiruna/fs-seek/write-all'
import { type Failure, PoolCall } from '@kiruna/node-libuv/pool'
import type { Asker } from '@kiruna/priority'
import type { Operation } from '@kiruna/priority/operation'
import type { File } from './file.ts'
import { Open } from './open.ts'
import { Write } from './write.ts'

/** One step of a writeAll that has begun: it goes before what has not. */
function step<T>(
  make: (resolve: (value: T) => void, reject: (reason: unknown) => void) => Operation<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const operation = make(resolve, reject)
    operation.isContinuation = true
    operation.begin(0)
  })
}

function changing(caller: Asker, call: (done: (error: Failure) => void) => void): Promise<void> {
  return step(
    (resolve, reject) => new PoolCall<void>(call, { path: '', changes: true }, caller, resolve, reject),
  )
}

function status(caller: Asker, call: (done: (error: Failure, stats: fs.Stats) => void) => void) {
  return new Promise<fs.Stats>((resolve, reject) =>
    new PoolCall(call, { path: '' }, caller, resolve, reject).begin(0),
  )
}

export const calls: WriteCalls<File> = {
  open: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, false, caller, resolve, reject)),
  create: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, true, caller, resolve, reject)),
  lstat: (path, caller) => status(caller, done => fs.lstat(path, done)),
  stat: (path, caller) => status(caller, done => fs.stat(path, done)),
  fstat: ({ fd }, caller) =>
    step((resolve, reject) => {
      const call = (done: (error: Failure, stats: fs.Stats) => void) => fs.fstat(fd, done)
      return new PoolCall(call, { path: '' }, caller, resolve, reject)
    }),
  readlink: (path, caller) =>
    step((resolve, reject) => {
      const call = (done: (error: Failure, text: Buffer) => void) => fs.readlink(path, 'buffer', done)
      return new PoolCall(call, { path: '' }, caller, resolve, reject)
    }),
  write: ({ fd }, bytes, position, caller) =>
    new Promise((resolve, reject) => {
      const write = new Write(fd, '', bytes, position, undefined, caller, resolve, reject)
      write.isContinuation = true
      write.begin(write.nextBytes)
    }),
  fsync: ({ fd }, caller) => changing(caller, done => fs.fsync(fd, done)),
  // node:fs has no sync_file_range.
  writeBack: ({ fd }, _position, _lengthBytes, caller) => changing(caller, done => fs.fdatasync(fd, done)),
  fchown: ({ fd }, uid, gid, caller) => changing(caller, done => fs.fchown(fd, uid, gid, done)),
  fchmod: ({ fd }, mode, caller) => changing(caller, done => fs.fchmod(fd, mode, done)),
  rename: (from, to, caller) => changing(caller, done => fs.rename(from, to, done)),
  unlink: (path, caller) => changing(caller, done => fs.unlink(path, done)),
}
