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
import { type Failure, PoolCall } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { checkInteger, checkPath, type PathLike } from '@kiruna/priority/arguments'
import { largestFileBytes } from '@kiruna/priority/error'
import { parseFlags } from '@kiruna/priority/flags'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { File } from './file.ts'
import { Open } from './open.ts'
import { ReadAll } from './read-all.ts'
import { calls } from './write-calls.ts'

export { File } from './file.ts'
export type { Chunk, ChunksOptions, PathLike, ReadManyOptions, ReadResult, WriteAllOptions }

/**
 * Opens a file, close-on-exec.
 * @param options `flags` as in node:fs, a string or a number such as `O_RDONLY | O_DIRECT`; `mode` of a new file, 0o666
 * @throws ENOENT, EACCES, EISDIR, EMFILE … (`err.code`); ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE
 * @see open(2)
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
 * A whole file, of a size unknown beforehand: /proc too.
 * @throws ENOENT, EACCES, EISDIR … (`err.code`); ERR_FS_FILE_TOO_LARGE beyond 2 GiB
 * @see open(2), pread(2)
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
 * @returns node:fs's own Stats
 * @see stat(2)
 */
export function stat(path: PathLike, caller: Caller): Promise<Stats> {
  return new Promise((resolve, reject) => {
    const name = checkPath(path)
    const call = (done: (error: Failure, stats: Stats) => void) => fs.stat(name, done)
    new PoolCall(call, { path: name }, caller, resolve, reject).begin(0)
  })
}

/**
 * The entries of a folder.
 * @see readdir(3)
 */
export function readdir(path: PathLike, caller: Caller): Promise<Dirent[]> {
  return new Promise((resolve, reject) => {
    const name = checkPath(path)
    const call = (done: (error: Failure, entries: Dirent[]) => void) =>
      fs.readdir(name, { withFileTypes: true }, done)
    new PoolCall(call, { path: name }, caller, resolve, reject).begin(0)
  })
}

/**
 * Makes `data` a file's whole content: however it ends, by an error, an abort or the power, the file holds the old
 * content or the new, whole. It is written beside the file, in `.kiruna-…`, brought to the disk and renamed over it. A
 * symbolic link is followed, the file's mode is kept, and its owner where permitted. What is not a regular file is
 * written in place.
 * @param options `atomic: false`: emptied and written in place. `durable: false`: resolves before the new content would
 *   survive a loss of power. `mode` of a new file, 0o666
 * @throws EACCES, EISDIR, ENOENT, ENOSPC … (`err.code`), with the file as it was; ERR_INVALID_ARG_TYPE for a chunk that is
 *   no Uint8Array
 * @see open(2), pwrite(2), fsync(2), rename(2)
 */
export function writeAll(
  path: PathLike,
  data: WriteData,
  caller: Caller,
  options?: WriteAllOptions,
): Promise<void> {
  return writeAllWith(calls, path, data, caller, options)
}
