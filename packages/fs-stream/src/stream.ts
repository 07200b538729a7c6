import type { Caller } from '@kiruna/priority'
import type { PathLike } from '@kiruna/priority/arguments'
import type { Writer } from './queued-writer.ts'

export type { PathLike, Writer }

export interface ReadOptions {
  /** The most that one read takes; 64 KiB. More has an effect on files only. */
  chunkBytes?: number
}

export interface WriteOptions {
  /** As in node:fs, for a path: 'w' by default, 'a' to append. */
  flags?: string | number
}

/**
 * The stream personality: what comes in order and of unknown length. Every package of the column has these functions, and
 * promises the same. A path is opened and closed by the stream. An fd is only borrowed: it is read or written where it
 * stands, its flags stay as they are, and it is never closed.
 */
export interface Stream {
  /**
   * Reads pipes, FIFOs, terminals, devices, sockets; files too. Each `next` makes one read, and nothing is read before.
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
   * All of a source, until its end.
   * @throws as `read` does; ERR_FS_FILE_TOO_LARGE beyond 2 GiB
   */
  all(source: PathLike | number, caller: Caller): Promise<Buffer>

  /**
   * Writes in order, to files, pipes, FIFOs, terminals, devices and sockets.
   * @param sink a path, opened at the first write and closed by `end`; or an fd
   * @throws TypeError and RangeError at once; what the system says, from `write` and `end`
   * @see write(2)
   */
  write(sink: PathLike | number, caller: Caller, options?: WriteOptions): Writer
}
