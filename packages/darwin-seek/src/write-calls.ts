import { Call } from '@kiruna/darwin-dispatch/call'
import { Close } from '@kiruna/darwin-dispatch/close'
import type { Native } from '@kiruna/darwin-dispatch/native'
import { Open } from '@kiruna/darwin-dispatch/open'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import type { WriteCalls } from '@kiruna/fs-seek/write-all'
import type { Asker } from '@kiruna/priority'
import type { Operation } from '@kiruna/priority/operation'
import { Write } from './write.ts'

/** What writeAll has open. */
class Opened {
  readonly fd: number

  constructor(fd: number) {
    this.fd = fd
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => new Close(this.fd, '', resolve, reject))
  }
}

const opened = (fd: number) => new Opened(fd)

type MakeCall = (native: Native, id: number, rank: number) => void

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

/** A step that does something to a file. */
function changing(syscall: string, call: MakeCall, caller: Asker): Promise<void> {
  return step((resolve, reject) => new Call<void>({ syscall }, call, undefined, caller, resolve, reject))
}

/** A step that finds something out. */
function finding<T>(syscall: string, call: MakeCall, read: (value: Buffer) => T, caller: Asker): Promise<T> {
  return step((resolve, reject) => new Call({ syscall }, call, read, caller, resolve, reject))
}

/** What comes first: it waits its turn. */
function status(syscall: string, call: MakeCall, caller: Asker) {
  return new Promise<ReturnType<typeof statsOf>>((resolve, reject) =>
    new Call({ syscall }, call, statsOf, caller, resolve, reject).begin(0),
  )
}

export const calls: WriteCalls<Opened> = {
  open: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, false, opened, caller, resolve, reject)),
  create: (path, flags, mode, caller) =>
    step((resolve, reject) => new Open(path, flags, mode, true, opened, caller, resolve, reject)),
  lstat: (path, caller) => status('lstat', (native, id, rank) => native.stat(id, rank, path, false), caller),
  stat: (path, caller) => status('stat', (native, id, rank) => native.stat(id, rank, path, true), caller),
  fstat: ({ fd }, caller) =>
    finding('fstat', (native, id, rank) => native.fstat(id, rank, fd), statsOf, caller),
  readlink: (path, caller) =>
    finding('readlink', (native, id, rank) => native.readlink(id, rank, path), asItIs, caller),
  write: ({ fd }, bytes, position, caller) =>
    new Promise((resolve, reject) => {
      const write = new Write(fd, '', bytes, position, undefined, caller, resolve, reject)
      write.isContinuation = true
      write.begin(write.nextBytes)
    }),
  fsync: ({ fd }, caller) =>
    changing('fsync', (native, id, rank) => native.fsync(id, rank, fd, true), caller),
  // macOS has no sync_file_range; its fsync(2) leaves the bytes in the disk's own cache, which is what is wanted here.
  writeBack: ({ fd }, _position, _lengthBytes, caller) =>
    changing('fsync', (native, id, rank) => native.fsync(id, rank, fd, false), caller),
  fchown: ({ fd }, uid, gid, caller) =>
    changing('fchown', (native, id, rank) => native.fchown(id, rank, fd, uid, gid), caller),
  fchmod: ({ fd }, mode, caller) =>
    changing('fchmod', (native, id, rank) => native.fchmod(id, rank, fd, mode), caller),
  rename: (from, to, caller) =>
    changing('rename', (native, id, rank) => native.rename(id, rank, from, to), caller),
  unlink: (path, caller) => changing('unlink', (native, id, rank) => native.unlink(id, rank, path), caller),
}

function asItIs(found: Buffer): Buffer {
  return found
}
