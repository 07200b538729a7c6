import * as fs from 'node:fs'
import type { WriteCalls } from '@kiruna/fs-seek/write-all'
import { pooled } from '@kiruna/node-libuv/pool'
import type { File } from './file.ts'
import { Open } from './open.ts'
import { Write } from './write.ts'

// Errors are given their path by writeAll.
const reading = { path: '' }
const changing = { path: '', changes: true }

export const calls: WriteCalls<File> = {
  open: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => new Open(path, flags, mode, false, asker, resolve, reject).begin(0)),
  create: (path, flags, mode, asker) =>
    new Promise((resolve, reject) => new Open(path, flags, mode, true, asker, resolve, reject).begin(0)),
  lstat: (path, asker) => pooled(done => fs.lstat(path, done), reading, asker),
  stat: (path, asker) => pooled(done => fs.stat(path, done), reading, asker),
  fstat: (file, asker) => file.stat(asker),
  readlink: (path, asker) => pooled(done => fs.readlink(path, 'buffer', done), reading, asker),
  write: ({ fd }, bytes, position, asker) =>
    new Promise((resolve, reject) => {
      const write = new Write(fd, '', bytes, position, undefined, asker, resolve, reject)
      write.begin(write.nextBytes)
    }),
  fsync: (file, asker) => file.sync(asker),
  // node:fs has no sync_file_range.
  writeBack: ({ fd }, _position, _lengthBytes, asker) =>
    pooled(done => fs.fdatasync(fd, done), changing, asker),
  fchown: ({ fd }, uid, gid, asker) => pooled(done => fs.fchown(fd, uid, gid, done), changing, asker),
  fchmod: ({ fd }, mode, asker) => pooled(done => fs.fchmod(fd, mode, done), changing, asker),
  rename: (from, to, asker) => pooled(done => fs.rename(from, to, done), changing, asker),
  unlink: (path, asker) => pooled(done => fs.unlink(path, done), changing, asker),
}
