import type { Dirent, Stats } from 'node:fs'
import type { Caller } from '@kiruna/priority'
import type { PathLike } from '@kiruna/priority/arguments'
import type { Chunk, ChunksOptions } from './chunks.ts'
import type { ReadManyOptions, ReadResult } from './read-many.ts'
import type { WriteAllOptions, WriteData } from './write-all.ts'

export type { Chunk, ChunksOptions, PathLike, ReadManyOptions, ReadResult, WriteAllOptions, WriteData }

export interface OpenOptions {
  /** As in node:fs, 'r' by default; or a number such as `O_RDONLY | O_DIRECT`. */
  flags?: string | number
  /** The mode of a new file, less the umask; 0o666 by default. */
  mode?: number
}

/**
 * The seek personality: files at offsets. Every seek package has these functions and makes the same promises.
 * A bad argument is a TypeError or a RangeError with an `ERR_…` code; the OS's errors are as in node:fs, with `code`,
 * `errno`, `syscall` and `path`; an abort rejects with the signal's reason.
 */
export interface Seek {
  /**
   * Opens a file, close-on-exec.
   * @throws ENOENT, EACCES, EISDIR, EMFILE … (`err.code`)
   * @see open(2)
   */
  open(path: PathLike, caller: Caller, options?: OpenOptions): Promise<File>

  /**
   * Reads a whole file, also one that does not know its size, as in /proc.
   * @throws ENOENT, EACCES, EISDIR … (`err.code`); ERR_FS_FILE_TOO_LARGE beyond 2 GiB
   * @see open(2), pread(2)
   */
  readAll(path: PathLike, caller: Caller): Promise<Buffer>

  /**
   * Reads many files, in the order in which they complete. A file that cannot be read is a result with its `error`.
   * At most about `bufferedBytes` are read ahead of the loop; leaving the loop cancels the reads in flight.
   * @throws TypeError, RangeError: bad arguments, at once
   */
  readMany(
    paths: Iterable<PathLike> | AsyncIterable<PathLike>,
    caller: Caller,
    options?: ReadManyOptions,
  ): AsyncIterableIterator<ReadResult, undefined, undefined>

  /**
   * The status of a file; a symbolic link is followed.
   * @returns node:fs's own Stats
   * @see stat(2)
   */
  stat(path: PathLike, caller: Caller): Promise<Stats>

  /** The entries of a folder. @see readdir(3) */
  readdir(path: PathLike, caller: Caller): Promise<Dirent[]>

  /**
   * Replaces a file's whole content with `data`. Even after an error, an abort or a loss of power, the file holds all
   * of the old content or all of the new. The data is written beside the file, in `.kiruna-…`, synced to the disk and
   * renamed over the file. Symbolic links are followed; the file's mode is kept, and its owner where permitted. What is
   * not a regular file is written in place.
   * @param options `atomic: false`: the file is emptied and written in place. `durable: false`: resolves before the new
   *   content would survive a loss of power. `mode`: of a new file, 0o666 by default
   * @throws EACCES, EISDIR, ENOENT, ENOSPC … (`err.code`), with the file as it was; ERR_INVALID_ARG_TYPE for a chunk
   *   that is not a Uint8Array
   * @see open(2), pwrite(2), fsync(2), rename(2)
   */
  writeAll(path: PathLike, data: WriteData, caller: Caller, options?: WriteAllOptions): Promise<void>
}

/** An open file, read and written at offsets: any number of operations at once. */
export interface File extends AsyncDisposable {
  /** The file descriptor. It belongs to this file: close the file, not the descriptor. */
  readonly fd: number

  /**
   * Fills `buffer` from `position` on.
   * @param position in bytes
   * @returns how many bytes were read: fewer than the buffer holds only at the end of the file
   * @throws EBADF, EIO, EISDIR, EINVAL … (`err.code`). An abort rejects when the OS is done with the buffer, whose
   *   content is then undefined
   * @see pread(2)
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number>

  /**
   * Writes all of `buffer` at `position`; to a file opened to append (`'a'`), at its end.
   * @param position in bytes
   * @throws EBADF, EFBIG, EIO, ENOSPC … (`err.code`): some of it may have been written. An abort rejects when the OS is
   *   done with the buffer, or resolves if all of it had been written by then
   * @see pwrite(2)
   */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void>

  /**
   * The file in order, read ahead.
   * @throws TypeError, RangeError: bad options, at once
   */
  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void>

  /** @see fstat(2) */
  stat(caller: Caller): Promise<Stats>

  /**
   * Resolves when what has been written, and the file's size and times, are on the disk.
   * @throws EIO, ENOSPC, EINVAL: this kind of file cannot be synced (`err.code`)
   * @see fsync(2)
   */
  sync(caller: Caller): Promise<void>

  /**
   * Makes the file `lengthBytes` long: bytes beyond are lost, new bytes are zero.
   * @throws EFBIG, EINVAL: not opened for writing (`err.code`)
   * @see ftruncate(2)
   */
  truncate(lengthBytes: number, caller: Caller): Promise<void>

  /**
   * Reserves room on the disk for `lengthBytes` from `offsetBytes` on: writes there do not fail because the disk is
   * full. If that is beyond the end of the file, the file grows, and new bytes are zero. Existing bytes do not change.
   * @throws ENOSPC, EFBIG, EBADF: not opened for writing … (`err.code`); ENOTSUP where the system or the disk has no
   *   such call: on macOS, on Windows and in node:fs, no call reserves room without a risk to shorten the file
   * @see posix_fallocate(3)
   */
  allocate(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void>

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see close(2)
   */
  close(): Promise<void>
}
