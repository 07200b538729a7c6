import { close, readSync } from 'node:fs'
import type { Socket } from 'node:net'
import { isTerminalsOtherSide, type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import { PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Asker } from '@kiruna/priority'
import type { ErrnoException } from '@kiruna/priority/error'
import { type LoopFd, letGo, setBlocking, socketOf } from './loop.ts'

/** What comes from a pipe, a terminal or a socket: read by the event loop, only when somebody asks, a piece at a time. */
export class Arrivals {
  readonly source: StreamSource
  readonly #loopFd: LoopFd
  readonly #memory: Buffer
  /** A FIFO that was opened anew does not tell the event loop that its writers have gone before: a read does. */
  readonly #readsFirst: boolean
  #socket: Socket | undefined = undefined
  #read: ReadArrived | undefined = undefined

  constructor(source: StreamSource, loopFd: LoopFd, chunkBytes: number) {
    this.source = source
    this.#loopFd = loopFd
    this.#memory = Buffer.allocUnsafeSlow(Math.min(chunkBytes, waitingPieceBytes))
    this.#readsFirst = loopFd.isOwn && source.path === undefined && source.stats.isFIFO()
  }

  get mostBytes(): number {
    return this.#memory.length
  }

  /** The next piece goes to `read`. @throws what the system says to opening it as a socket, or to the read */
  begin(read: ReadArrived): void {
    const bytes = this.#readsFirst ? this.#readNow() : undefined
    if (bytes !== undefined) {
      read.came(this.#cut(bytes))
      return
    }
    this.#read = read
    this.#socket ??= this.#connect()
    this.#socket.resume()
  }

  /** Nothing more is taken. */
  pause(): void {
    this.#read = undefined
    this.#socket!.pause()
  }

  /** When nothing waits. */
  close(): void {
    if (this.#socket !== undefined) void letGo(this.#socket, this.#loopFd)
    else if (this.#loopFd.isOwn) close(this.#loopFd.fd)
  }

  #connect(): Socket {
    const onread = { buffer: this.#memory, callback: this.#arrived }
    return socketOf(this.#loopFd, { readable: true, writable: false, onread })
      .on('end', this.#ended)
      .on('error', error => this.#take()?.failed(error))
  }

  /** Returns false: libuv stops reading at once. */
  readonly #arrived = (bytes: number): boolean => {
    this.#take()?.came(this.#cut(bytes))
    return false
  }

  readonly #ended = (): void => {
    if (this.#loopFd.wasBlocking) setBlocking(this.#socket!) // it is about to be destroyed
    this.#take()?.came(this.#cut(0))
  }

  #take(): ReadArrived | undefined {
    const read = this.#read
    this.#read = undefined
    return read
  }

  #cut(bytes: number): Buffer {
    return Buffer.from(this.#memory.subarray(0, bytes))
  }

  /** It is O_NONBLOCK. Returns undefined where there is nothing yet. */
  #readNow(): number | undefined {
    try {
      return readSync(this.#loopFd.fd, this.#memory)
    } catch (error) {
      if ((error as ErrnoException).code === 'EAGAIN') return undefined
      throw error
    }
  }
}

/** One read of what may have to wait: neither in the lane nor on a thread of the pool. */
export class ReadArrived extends PoolOperation<Buffer> implements InTurn {
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
      const left = this.#arrivals.source.takeBack(this.#arrivals.mostBytes)
      if (left === undefined) this.start()
      else this.came(left)
    } catch (error) {
      this.failed(error as Error)
    }
  }

  start(): void {
    this.#arrivals.begin(this)
  }

  came(bytes: Buffer): void {
    this.succeed(bytes)
    this.end()
  }

  failed(error: Error): void {
    const { path, stats } = this.#arrivals.source
    const { code } = error as ErrnoException
    if (code === 'EIO' && isTerminalsOtherSide(stats)) this.succeed(Buffer.alloc(0))
    else if (path === undefined || !('errno' in error)) this.fail(error)
    else this.fail(withPath(error as ErrnoException, path))
    this.end()
  }

  /** The event loop takes bytes on this thread: paused, it has taken none. */
  protected override stop(): void {
    if (this.#arrivals.source.turns.has(this)) this.#arrivals.pause()
    this.end()
  }

  end(): void {
    this.#arrivals.source.turns.leave(this)
  }
}

/** Writes all of the bytes to a pipe, a terminal or a socket: the event loop does, as room is made for them. */
export class WriteDeparting extends PoolOperation<void> {
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
    resolve: (value: void) => void,
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
      else if (this.#path === undefined || !('errno' in error)) this.fail(error)
      else this.fail(withPath(error as ErrnoException, this.#path))
    })
  }

  /** libuv cannot take a write back: it lets go of the pipe, and of the bytes. */
  protected override stop(): void {
    this.#close()
    this.fail(undefined)
  }

  end(): void {}
}
