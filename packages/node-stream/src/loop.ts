import * as fs from 'node:fs'
import { Socket, type SocketConstructorOpts } from 'node:net'
import { isatty, ReadStream } from 'node:tty'
import { isMainThread } from 'node:worker_threads'
import { flagsOf, isTerminalsOtherSide } from '@kiruna/fs-stream/stream-source'
import { coded, type ErrnoException, errnoOf, systemError } from '@kiruna/priority/error'
import { noWait } from './open.ts'

const { O_NONBLOCK } = fs.constants
const EPIPE = errnoOf('EPIPE')

/** An fd that libuv's event loop can wait on. */
export interface LoopFd {
  fd: number
  /** It is ours to close; otherwise it is one of the standard three, which libuv never closes. */
  isOwn: boolean
  /** It was blocking, for everybody who shares it. */
  wasBlocking: boolean
}

/** What the event loop waits for, instead of a thread of the pool. */
export function isForLoop(fd: number, stats: fs.Stats): boolean {
  return stats.isFIFO() || stats.isSocket() || isatty(fd) || (stats.mode & fs.constants.S_IFMT) === 0
}

/**
 * libuv closes what it waits on, and makes it O_NONBLOCK for everybody who shares it. A borrowed pipe or terminal is
 * therefore opened anew, which gives flags of its own to the same pipe. A socket cannot be.
 * @param accessMode O_RDONLY or O_WRONLY
 * @throws ERR_KIRUNA_UNAVAILABLE: it cannot be opened anew, and is none of the standard three, which libuv leaves open
 */
export function borrowForLoop(fd: number, stats: fs.Stats, accessMode: number): LoopFd {
  let reason = 'it is a socket'
  // To open the terminal emulator's side anew would make another terminal.
  if (isTerminalsOtherSide(stats)) reason = "it is a terminal's other side"
  else if (!stats.isSocket()) {
    try {
      return { fd: fs.openSync(`/dev/fd/${fd}`, accessMode | noWait), isOwn: true, wasBlocking: false }
    } catch (error) {
      const { code, message } = error as ErrnoException
      if (code === 'EMFILE' || code === 'ENFILE') throw error
      if (code === 'ENXIO' && stats.isFIFO()) throw systemError(EPIPE, 'write') // it has no reader any more
      reason = message
    }
  }
  if (fd > 2) {
    throw coded(
      Error,
      'ERR_KIRUNA_UNAVAILABLE',
      `libuv would close the borrowed fd ${fd}, and it cannot be opened anew: ${reason}`,
    )
  }
  return { fd, isOwn: false, wasBlocking: (flagsOf(fd) & O_NONBLOCK) === 0 }
}

/** @throws ERR_INVALID_FD_TYPE; EEXIST: this thread's event loop waits on it already */
export function socketOf({ fd }: LoopFd, options: SocketConstructorOpts): Socket {
  // Not tty.WriteStream: its writes hold up this thread.
  const socket = isatty(fd)
    ? new ReadStream(fd, options)
    : new Socket({ ...options, fd, allowHalfOpen: true })
  return socket.on('error', ignored) // whoever waits is told
}

/** Gives back what was borrowed and closes what is ours. Resolves when it is closed. */
export async function letGo(socket: Socket, { fd, isOwn, wasBlocking }: LoopFd): Promise<void> {
  const isTerminal = socket instanceof ReadStream
  if (wasBlocking) setBlocking(socket)
  const closed = socket.closed ? undefined : new Promise(resolve => socket.once('close', resolve))
  socket.destroy()
  if (isOwn && !isTerminal && !isMainThread) forget(fd)
  await closed
  // libuv has opened a terminal once more, and closed that.
  if (isTerminal && isOwn) await new Promise<void>(resolve => fs.close(fd, () => resolve()))
}

/**
 * At the end of a worker Node.js closes each fd that node:fs has opened there and not closed, but does not know what
 * libuv closes: it may be another thread's file by then. To close it, which is EBADF, makes Node.js forget it.
 */
function forget(fd: number): void {
  try {
    fs.fstatSync(fd)
  } catch {
    try {
      fs.closeSync(fd)
    } catch {} // EBADF
  }
}

/** Node.js has no public call for fcntl(2); this one it keeps for process.stdout. */
export function setBlocking(socket: Socket): void {
  const { _handle } = socket as Socket & { _handle?: { setBlocking?(isBlocking: boolean): void } | null }
  _handle?.setBlocking?.(true)
}

const ignored = () => {}
