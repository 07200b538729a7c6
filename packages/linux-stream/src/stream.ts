import type { Stats } from 'node:fs'
import { constants } from 'node:fs'
import { concatenate, pieces, type Reading } from '@kiruna/fs-stream/pieces'
import { QueuedWriter, type Writer, type Writing } from '@kiruna/fs-stream/queued-writer'
import { borrow, borrowSink, checkPathOrFd, isOnDisk, StreamSource } from '@kiruna/fs-stream/stream-source'
import { Close } from '@kiruna/linux-uring/close'
import { ring } from '@kiruna/linux-uring/ring'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { checkInteger, type PathLike } from '@kiruna/priority/arguments'
import { parseFlags } from '@kiruna/priority/flags'
import { type OpenedStream, OpenStream } from './open.ts'
import { StreamRead, type ReadState } from './read.ts'
import { StreamWrite, type WriteState } from './write.ts'

export type { PathLike, Writer }

/**
 * Reads what comes in order and of unknown length: pipes, FIFOs, terminals, devices, sockets; files too.
 * Each `next` makes one read, and nothing is read before. Leaving the loop loses no bytes.
 * @param source a path, opened at the first `next` and closed at the end; or an fd, which is only borrowed: it is read
 *   where it stands, its flags stay as they are, and it is never closed
 * @param options `chunkBytes`: the most that one read takes, 64 KiB. More only has an effect on files
 * @throws ENOENT, EACCES, EISDIR, EBADF, ECONNRESET … (`err.code`) from the loop; TypeError, RangeError and
 *   ERR_KIRUNA_UNAVAILABLE at once
 * @see read(2), preadv2(2), poll(2)
 */
export function read(
  source: PathLike | number,
  caller: Caller,
  options: { chunkBytes?: number } = {},
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const { chunkBytes = 64 * 1024 } = options
  const from = checkPathOrFd(source)
  checkInteger(chunkBytes, 'chunkBytes', 1)
  ring()
  return pieces(asker => openSource(from, chunkBytes, asker), askerOf(caller))
}

/**
 * All of a source, until its end.
 * @throws as `read` does; ERR_FS_FILE_TOO_LARGE beyond 2 GiB
 */
export async function all(source: PathLike | number, caller: Caller): Promise<Buffer> {
  const chunks = read(source, caller, { chunkBytes: 256 * 1024 })
  return concatenate(checkPathOrFd(source), chunks)
}

/**
 * Writes in order, to files, pipes, FIFOs, terminals, devices and sockets.
 * @param sink a path, opened at the first write and closed by `end`; or an fd, which is only borrowed, as in `read`
 * @param options `flags` as in node:fs, for a path: 'w', 'a' to append
 * @throws TypeError, RangeError and ERR_KIRUNA_UNAVAILABLE at once; what the system says, from `write` and `end`
 * @see write(2), pwritev2(2), poll(2)
 */
export function write(
  sink: PathLike | number,
  caller: Caller,
  options: { flags?: string | number } = {},
): Writer {
  const { flags = 'w' } = options
  const to = checkPathOrFd(sink)
  const openFlags = parseFlags(flags)
  ring()
  return new QueuedWriter(asker => openSink(to, openFlags, asker), askerOf(caller))
}

async function openSource(
  from: string | Buffer | number,
  chunkBytes: number,
  asker: Asker,
): Promise<Reading> {
  if (typeof from === 'number') {
    ring().noteFuse(from)
    return reading(borrow(from), chunkBytes, () => {})
  }
  const { fd, stats } = await open(from, constants.O_RDONLY, asker)
  return reading(new StreamSource(fd, stats!, from), chunkBytes, () => ring().close(fd))
}

function reading(source: StreamSource, chunkBytes: number, close: () => void): Reading {
  const state: ReadState = { source, nowait: true, pollFirst: source.stats.isFIFO() }
  source.addReader()
  return {
    read: asker =>
      new Promise((resolve, reject) => new StreamRead(state, chunkBytes, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(close),
  }
}

async function openSink(to: string | Buffer | number, flags: number, asker: Asker): Promise<Writing> {
  if (typeof to === 'number') {
    ring().noteFuse(to)
    return writing(to, undefined, borrowSink(to), async () => {})
  }
  const { fd, stats } = await open(to, flags, asker)
  const close = () => new Promise<void>((resolve, reject) => new Close(fd, to, resolve, reject))
  return writing(fd, to, stats, close)
}

function writing(
  fd: number,
  path: string | Buffer | undefined,
  stats: Stats | undefined,
  close: () => Promise<void>,
): Writing {
  const state: WriteState = {
    fd,
    path,
    isOnDisk: stats === undefined || isOnDisk(stats),
    isFifo: stats?.isFIFO() ?? false,
    nowait: true,
    pollFirst: false,
  }
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) => {
        const write = new StreamWrite(state, bytes, asker, resolve, reject)
        if (bytes.byteLength > 0) write.begin(0)
        else write.succeed()
      }),
    close,
  }
}

function open(path: string | Buffer, flags: number, asker: Asker): Promise<OpenedStream> {
  return new Promise((resolve, reject) => new OpenStream(path, flags, asker, resolve, reject).begin(0))
}

/** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
export function check(): void {
  ring()
}
