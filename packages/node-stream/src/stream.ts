import * as fs from 'node:fs'
import { concatenate, pieces, type Reading } from '@kiruna/fs-stream/pieces'
import { QueuedWriter, type Writer, type Writing } from '@kiruna/fs-stream/queued-writer'
import { borrow, borrowSink, checkPathOrFd, StreamSource } from '@kiruna/fs-stream/stream-source'
import { withPath } from '@kiruna/node-libuv/pool'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { checkInteger, type PathLike } from '@kiruna/priority/arguments'
import { parseFlags } from '@kiruna/priority/flags'
import { borrowForLoop, isForLoop, type LoopFd, letGo, socketOf } from './loop.ts'
import { Arrivals, ReadArrived, WriteDeparting } from './on-loop.ts'
import { type OpenedStream, OpenStream } from './open.ts'
import { ReadPooled, WritePooled } from './pooled.ts'

export type { PathLike, Writer }

const { O_RDONLY, O_WRONLY } = fs.constants

/**
 * Reads what comes in order and of unknown length: pipes, FIFOs, terminals, devices; files too.
 * Each `next` makes one read, and nothing is read before. Leaving the loop loses no bytes.
 * @param source a path, opened at the first `next` and closed at the end; or an fd, which is only borrowed: it is read
 *   where it stands, its flags are as before afterwards, and it is never closed
 * @param options `chunkBytes`: the most that one read takes, 64 KiB. More only has an effect on files
 * @throws ENOENT, EACCES, EISDIR, EBADF … (`err.code`) from the loop; ERR_KIRUNA_UNAVAILABLE: a socket that is none of
 *   the standard three fds; TypeError, RangeError at once
 * @see read(2)
 */
export function read(
  source: PathLike | number,
  caller: Caller,
  options: { chunkBytes?: number } = {},
): AsyncIterableIterator<Buffer, undefined, undefined> {
  const { chunkBytes = 64 * 1024 } = options
  const from = checkPathOrFd(source)
  checkInteger(chunkBytes, 'chunkBytes', 1)
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
 * Writes in order, to files, pipes, FIFOs, terminals and devices.
 * @param sink a path, opened at the first write and closed by `end`; or an fd, which is only borrowed, as in `read`
 * @param options `flags` as in node:fs, for a path: 'w', 'a' to append
 * @throws TypeError, RangeError at once; what the system says, from `write` and `end`
 * @see write(2)
 */
export function write(
  sink: PathLike | number,
  caller: Caller,
  options: { flags?: string | number } = {},
): Writer {
  const { flags = 'w' } = options
  const to = checkPathOrFd(sink)
  const openFlags = parseFlags(flags)
  return new QueuedWriter(asker => openSink(to, openFlags, asker), askerOf(caller))
}

async function openSource(
  from: string | Buffer | number,
  chunkBytes: number,
  asker: Asker,
): Promise<Reading> {
  if (typeof from === 'number') {
    const source = borrow(from)
    if (!isForLoop(from, source.stats)) return readingFile(source, chunkBytes, nothing)
    return readingLoop(source, borrowForLoop(from, source.stats, O_RDONLY), chunkBytes)
  }
  const { fd, stats } = await open(from, O_RDONLY, asker)
  const source = new StreamSource(fd, stats, from)
  if (isForLoop(fd, stats)) return readingLoop(source, { fd, isOwn: true, wasBlocking: false }, chunkBytes)
  return readingFile(source, chunkBytes, () => fs.close(fd))
}

function readingFile(source: StreamSource, chunkBytes: number, close: () => void): Reading {
  source.addReader()
  return {
    read: asker =>
      new Promise((resolve, reject) => new ReadPooled(source, chunkBytes, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(close),
  }
}

function readingLoop(source: StreamSource, loopFd: LoopFd, chunkBytes: number): Reading {
  const arrivals = new Arrivals(source, loopFd, chunkBytes)
  source.addReader()
  return {
    read: asker =>
      new Promise((resolve, reject) => new ReadArrived(arrivals, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(() => arrivals.close()),
  }
}

async function openSink(to: string | Buffer | number, flags: number, asker: Asker): Promise<Writing> {
  if (typeof to === 'number') {
    const stats = borrowSink(to)
    if (isForLoop(to, stats)) return writingLoop(borrowForLoop(to, stats, O_WRONLY), undefined)
    return writingFile(to, undefined, async () => {})
  }
  const { fd, stats } = await open(to, flags, asker)
  if (isForLoop(fd, stats)) return writingLoop({ fd, isOwn: true, wasBlocking: false }, to)
  return writingFile(
    fd,
    to,
    () =>
      new Promise((resolve, reject) => {
        fs.close(fd, error => (error ? reject(withPath(error, to)) : resolve()))
      }),
  )
}

function writingFile(fd: number, path: string | Buffer | undefined, close: () => Promise<void>): Writing {
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) => {
        const write = new WritePooled(fd, path, bytes, asker, resolve, reject)
        if (bytes.byteLength > 0) write.begin(write.nextBytes)
        else write.succeed()
      }),
    close,
  }
}

function writingLoop(loopFd: LoopFd, path: string | Buffer | undefined): Writing {
  const socket = socketOf(loopFd, { readable: false, writable: true })
  let closed: Promise<void> | undefined
  const close = () => (closed ??= letGo(socket, loopFd))
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) => {
        new WriteDeparting(socket, close, path, bytes, asker, resolve, reject).begin(0)
      }),
    close,
  }
}

function open(path: string | Buffer, flags: number, asker: Asker): Promise<OpenedStream> {
  return new Promise((resolve, reject) => new OpenStream(path, flags, asker, resolve, reject).begin(0))
}

const nothing = () => {}
