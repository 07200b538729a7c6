import type { Dirent, Stats } from 'node:fs'
import * as fs from 'node:fs'
import type { Chunk, ChunksOptions } from '@kiruna/fs-seek/chunks'
import {
  type ReadManyOptions,
  type ReadResult,
  type ReadUpTo,
  readMany as readManyWith,
} from '@kiruna/fs-seek/read-many'
import { type WriteAllOptions, type WriteData, writeAll as writeAllWith } from '@kiruna/fs-seek/write-all'
import type { Caller } from '@kiruna/priority'
import { checkInteger, checkPath, type PathLike } from '@kiruna/priority/arguments'
import { largestFileBytes } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { port } from '@kiruna/win-iocp/iocp'
import type { File } from './file.ts'
import { Open } from './open.ts'
import { PoolCall } from '@kiruna/node-libuv/pool'
import { ReadAll } from './read-all.ts'
import { calls } from './write-calls.ts'

export { File } from './file.ts'
export type { Chunk, ChunksOptions, PathLike, ReadManyOptions, ReadResult, WriteAllOptions }

/**
 * Opens a file. Others may read, write, rename and delete it meanwhile; no child process inherits it.
 * @param options `flags` as in node:fs, a string or a number; of a `mode` only the owner's right to write counts
 * @throws ENOENT, EACCES, EISDIR, EMFILE … (`err.code`); ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew
 */
export function open(
  path: PathLike,
  caller: Caller,
  options: { flags?: string | number; mode?: number } = {},
): Promise<File> {
  return new Promise((resolve, reject) => {
    const { flags = 'r', mode = 0o666 } = options
    const name = checkPath(path)
    const permissions = checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    new Open(name, parseFlags(flags), permissions, false, caller, resolve, reject).begin(0)
  })
}

/**
 * A whole file.
 * @throws ENOENT, EACCES, EISDIR … (`err.code`); ERR_FS_FILE_TOO_LARGE beyond 2 GiB
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
 */
export function readAll(path: PathLike, caller: Caller): Promise<Buffer> {
  return new Promise((resolve, reject) => readUpTo(largestFileBytes, path, caller, resolve, reject))
}

const readUpTo: ReadUpTo = (maxBytes, path, caller, resolve, reject) => {
  new ReadAll(checkPath(path), maxBytes, caller, resolve, reject).begin(maxPieceBytes)
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
 * @returns node:fs's own Stats, by node:fs itself, on a thread of libuv's pool
 * @see stat(2)
 */
export function stat(path: PathLike, caller: Caller): Promise<Stats> {
  return new Promise((resolve, reject) => {
    const name = checkPath(path)
    const call = (done: (error: NodeJS.ErrnoException | null, stats: Stats) => void) => fs.stat(name, done)
    pooled(call, name, caller, resolve, reject)
  })
}

/**
 * The entries of a folder, by node:fs itself.
 * @see readdir(3)
 */
export function readdir(path: PathLike, caller: Caller): Promise<Dirent[]> {
  return new Promise((resolve, reject) => {
    const name = checkPath(path)
    const call = (done: (error: NodeJS.ErrnoException | null, entries: Dirent[]) => void) =>
      fs.readdir(name, { withFileTypes: true }, done)
    pooled(call, name, caller, resolve, reject)
  })
}

function pooled<T>(
  call: (done: (error: NodeJS.ErrnoException | null, value: T) => void) => void,
  name: string | Buffer,
  caller: Caller,
  resolve: (value: T) => void,
  reject: (reason: unknown) => void,
): void {
  port() // the same error as from all the others where there is none
  new PoolCall(call, { path: name }, caller, resolve, reject).begin(0)
}

/**
 * Makes `data` a file's whole content: however it ends, by an error, an abort or the power, the file holds the old
 * content or the new, whole. It is written beside the file, in `.kiruna-…`, brought to the disk and moved over it. A
 * symbolic link is followed. What is not a regular file is written in place.
 * @param options `atomic: false`: emptied and written in place. `durable: false`: resolves before the new content would
 *   survive a loss of power. `mode` of a new file, 0o666
 * @throws EACCES, EBUSY, EISDIR, ENOENT, ENOSPC, EPERM … (`err.code`), with the file as it was; ERR_INVALID_ARG_TYPE for a
 *   chunk that is no Uint8Array
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
