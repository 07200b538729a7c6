import type { Caller } from '@kiruna/priority'
import type { PathLike } from '@kiruna/priority/arguments'
import type { Writer } from './queued-writer.ts'

export type { PathLike, Writer }

export interface ReadOptions {
  /** The most that one read takes; 64 KiB by default. Only reads of files take more. */
  chunkBytes?: number
}

export interface WriteOptions {
  /** As in node:fs, for a path: 'w' by default, 'a' to append. */
  flags?: string | number
}

/**
 * The stream personality: bytes in order, of unknown length. Every stream package has these functions and makes the
 * same promises. A path is opened and closed by the stream. An fd is only borrowed: it is read or written at its
 * current offset, its flags do not change, and it is never closed.
 */
export interface Stream {
  /**
   * Reads pipes, FIFOs, terminals, devices, sockets; files too. Each `next` makes one read; nothing is read ahead.
   * Leaving the loop loses no bytes.
   * @param source a path, opened at the first `next` and closed at the end; or an fd
   * @throws ENOENT, EACCES, EISDIR, EBADF, ECONNRESET … (`err.code`) from the loop; TypeError and RangeError at once
   * @see read(2)
   */
  read(
    source: PathLike | number,
    caller: Caller,
    options?: ReadOptions,
  ): AsyncIterableIterator<Buffer, undefined, undefined>

  /**
   * Reads all of a source, until its end.
   * @throws as `read`; ERR_FS_FILE_TOO_LARGE beyond 2 GiB
   */
  all(source: PathLike | number, caller: Caller): Promise<Buffer>

  /**
   * Writes in order, to files, pipes, FIFOs, terminals, devices and sockets.
   * @param sink a path, opened at the first write and closed by `end`; or an fd
   * @throws TypeError and RangeError at once; the system's errors from `write` and `end`
   * @see write(2)
   */
  write(sink: PathLike | number, caller: Caller, options?: WriteOptions): Writer
}
