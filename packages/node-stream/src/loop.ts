import * as fs from 'node:fs'
import { Socket, type SocketConstructorOpts } from 'node:net'
import { isatty, ReadStream } from 'node:tty'
import { isMainThread } from 'node:worker_threads'
import type { Reading } from '@kiruna/fs-stream/pieces'
import type { Writing } from '@kiruna/fs-stream/queued-writer'
import {
  copyOf,
  flagsOf,
  isPtyMaster,
  type StreamSource,
  waitingPieceBytes,
} from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Asker } from '@kiruna/priority'
import { coded, type ErrnoException, errnoOf, systemError } from '@kiruna/priority/error'

// Windows has neither of these.
const { O_NOCTTY = 0, O_NONBLOCK = 0 } = fs.constants as Partial<typeof fs.constants>
/** For an open and reads that do not wait for the other end. */
export const noWait = O_NONBLOCK | O_NOCTTY
const EPIPE = errnoOf('EPIPE')

/** An fd that libuv's event loop can wait on. */
interface LoopFd {
  fd: number
  /** We opened it and close it; otherwise it is one of fds 0 to 2, which libuv never closes. */
  isOwn: boolean
  /** It was blocking, as whoever shares it expects it to be afterwards. */
  wasBlocking: boolean
}

/** Whether the event loop waits for it, not a pool thread. */
export function isForLoop(fd: number, stats: fs.Stats): boolean {
  return stats.isFIFO() || stats.isSocket() || isatty(fd) || (stats.mode & fs.constants.S_IFMT) === 0
}

/**
 * libuv closes an fd that it waits on, and makes it O_NONBLOCK for everybody who shares it. So a borrowed pipe or
 * terminal is opened anew: the same pipe, with its own flags. A socket cannot be opened anew.
 * @param accessMode O_RDONLY or O_WRONLY
 * @throws ERR_KIRUNA_UNAVAILABLE: it cannot be opened anew, and is not one of fds 0 to 2, which libuv leaves open
 */
export function borrowForLoop(fd: number, stats: fs.Stats, accessMode: number): LoopFd {
  let reason = 'it is a socket'
  // To open a pseudoterminal's master anew would make another terminal.
  if (isPtyMaster(stats)) reason = "it is a terminal's other side"
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

/** Reads a pipe, a terminal or a socket. */
export function loopReading(source: StreamSource, loopFd: LoopFd, chunkBytes: number): Reading {
  const arrivals = new Arrivals(source, loopFd, chunkBytes)
  source.addReader()
  return {
    read: asker => new Promise((resolve, reject) => new LoopRead(arrivals, asker, resolve, reject).begin(0)),
    close: () => source.removeReader(() => arrivals.close()),
  }
}

/** Writes a pipe, a terminal or a socket. */
export function loopWriting(loopFd: LoopFd, path: string | Buffer | undefined): Writing {
  const socket = socketOf(loopFd, { readable: false, writable: true })
  let closed: Promise<void> | undefined
  const close = () => (closed ??= release(socket, loopFd))
  return {
    write: (bytes, asker) =>
      new Promise((resolve, reject) => {
        new LoopWrite(socket, close, path, bytes, asker, resolve, reject).begin(0)
      }),
    close,
  }
}

/** The bytes of a pipe, a terminal or a socket: the event loop reads them a piece at a time, only when asked. */
class Arrivals {
  readonly source: StreamSource
  readonly #loopFd: LoopFd
  readonly #memory: Buffer
  /** The event loop does not notice that the writers of a FIFO left before it was opened anew: a read does. */
  readonly #readsFirst: boolean
  #socket: Socket | undefined = undefined
  #read: LoopRead | undefined = undefined

  constructor(source: StreamSource, loopFd: LoopFd, chunkBytes: number) {
    this.source = source
    this.#loopFd = loopFd
    this.#memory = Buffer.allocUnsafeSlow(Math.min(chunkBytes, waitingPieceBytes))
    this.#readsFirst = loopFd.isOwn && source.path === undefined && source.stats.isFIFO()
  }

  get mostBytes(): number {
    return this.#memory.length
  }

  /** Gives the next piece to `read`. @throws the system's error of making it a net.Socket, or of the read */
  begin(read: LoopRead): void {
    const bytes = this.#readsFirst ? this.#readNow() : undefined
    if (bytes !== undefined) {
      read.complete(this.#cut(bytes))
      return
    }
    this.#read = read
    this.#socket ??= this.#connect()
    this.#socket.resume()
  }

  /** Stops reading. */
  pause(): void {
    this.#read = undefined
    this.#socket!.pause()
  }

  /** To be called when no read waits. */
  close(): void {
    if (this.#socket !== undefined) void release(this.#socket, this.#loopFd)
    else if (this.#loopFd.isOwn) fs.close(this.#loopFd.fd)
  }

  #connect(): Socket {
    const onread = { buffer: this.#memory, callback: this.#arrived }
    return socketOf(this.#loopFd, { readable: true, writable: false, onread })
      .on('end', this.#ended)
      .on('error', error => this.#take()?.refuse(error))
  }

  /** Returns false: libuv stops reading at once. */
  readonly #arrived = (bytes: number): boolean => {
    this.#take()?.complete(this.#cut(bytes))
    return false
  }

  readonly #ended = (): void => {
    if (this.#loopFd.wasBlocking) setBlocking(this.#socket!) // it is about to be destroyed
    this.#take()?.complete(this.#cut(0))
  }

  #take(): LoopRead | undefined {
    const read = this.#read
    this.#read = undefined
    return read
  }

  #cut(bytes: number): Buffer {
    return copyOf(this.#memory.subarray(0, bytes))
  }

  /** Reads an O_NONBLOCK fd. Returns undefined if there is nothing yet. */
  #readNow(): number | undefined {
    try {
      return fs.readSync(this.#loopFd.fd, this.#memory)
    } catch (error) {
      if ((error as ErrnoException).code === 'EAGAIN') return undefined
      throw error
    }
  }
}

/** One read that may have to wait: neither in the lane nor on a pool thread. */
class LoopRead extends PoolOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #arrivals: Arrivals

  constructor(
    arrivals: Arrivals,
    asker: Asker,
    resolve: (value: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#arrivals = arrivals
  }

  override enter(): void {
    this.#arrivals.source.turns.enter(this)
  }

  takeTurn(): void {
    try {
      const leftover = this.#arrivals.source.takeBack(this.#arrivals.mostBytes)
      if (leftover === undefined) this.start()
      else this.complete(leftover)
    } catch (error) {
      this.refuse(error as Error)
    }
  }

  start(): void {
    this.#arrivals.begin(this)
  }

  complete(bytes: Buffer): void {
    this.succeed(bytes)
    this.end()
  }

  refuse(error: NodeJS.ErrnoException): void {
    const { path, stats } = this.#arrivals.source
    if (error.code === 'EIO' && isPtyMaster(stats)) this.succeed(Buffer.alloc(0))
    else this.fail(withPath(error, path))
    this.end()
  }

  /** The event loop reads on this thread: a paused read has taken nothing. */
  protected override stop(): void {
    if (this.#arrivals.source.turns.has(this)) this.#arrivals.pause()
    this.end()
  }

  end(): void {
    this.#arrivals.source.turns.leave(this)
  }
}

/** Writes all of the bytes to a pipe, a terminal or a socket: the event loop writes as there is room. */
class LoopWrite extends PoolOperation<void> {
  protected readonly ownsBuffer = false
  readonly #socket: Socket
  readonly #close: () => void
  readonly #path: string | Buffer | undefined
  readonly #data: Uint8Array

  constructor(
    socket: Socket,
    close: () => void,
    path: string | Buffer | undefined,
    data: Uint8Array,
    asker: Asker,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#socket = socket
    this.#close = close
    this.#path = path
    this.#data = data
  }

  override enter(): void {
    this.start()
  }

  start(): void {
    this.#socket.write(this.#data, error => {
      if (error == null) this.succeed(undefined)
      else this.fail(withPath(error, this.#path))
    })
  }

  /** libuv cannot cancel a write, so the pipe is closed, which releases the bytes. */
  protected override stop(): void {
    this.#close()
    this.fail(undefined)
  }

  end(): void {}
}

/** @throws ERR_INVALID_FD_TYPE; EEXIST: this thread's event loop waits on it already */
function socketOf({ fd }: LoopFd, options: SocketConstructorOpts): Socket {
  // Not tty.WriteStream: its writes hold up this thread.
  const socket = isatty(fd)
    ? new ReadStream(fd, options)
    : new Socket({ ...options, fd, allowHalfOpen: true })
  return socket.on('error', ignored) // a read or a write that waits gets the error by itself
}

/** Restores a borrowed fd, or closes our own. Resolves when it is done. */
async function release(socket: Socket, { fd, isOwn, wasBlocking }: LoopFd): Promise<void> {
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
 * At the end of a worker Node.js closes each fd that node:fs has opened there and not closed. It does not know that
 * libuv has closed this one, which may be another thread's file by then. A close, though it is EBADF, makes Node.js
 * forget it.
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

/** Node.js has no public call for fcntl(2); it has this one for process.stdout. */
function setBlocking(socket: Socket): void {
  const { _handle } = socket as Socket & { _handle?: { setBlocking?(isBlocking: boolean): void } | null }
  _handle?.setBlocking?.(true)
}

const ignored = () => {}
