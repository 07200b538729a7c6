import type { AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { invalidType, outOfRange, reportUncaught } from '@kiruna/priority/error'
import { clearTimeout, nextTick, setTimeout } from '@kiruna/priority/timers'
import type { SocketAddress } from './address.ts'
import { checkBoolean } from './arguments.ts'

export interface DuplexOptions {
  /** This side stays open when the peer has ended, until `end` is called; false by default, as in node:net. */
  allowHalfOpen?: boolean
  /** How many bytes are read ahead, and how many may wait before `write` returns false; 64 KiB by default. */
  highWaterMark?: number
}

/** What a stream uses of its connection, and others may use too. */
interface OpenConnection {
  readonly localAddress: SocketAddress | undefined
  readonly remoteAddress: SocketAddress | undefined
  readonly queuedBytes: number
  close(): Promise<void>
}

/** What only the stream may use: locked for all others. */
interface Unlocked {
  read(): Promise<Buffer | null>
  write(bytes: Uint8Array): Promise<void>
  end(): Promise<void>
  setNoDelay(on: boolean): void
  setKeepAlive(on: boolean, delayMs: number): void
  setRef(isRef: boolean): void
}

/** The longest delay of a timer. */
const mostMs = 2 ** 31 - 1
/** The default of Linux and of libuv. @see tcp(7) tcp_keepalive_time */
export const keepAliveDelayMs = 7_200_000

/**
 * A connection as a node:stream, with what Node's http and tls and the clients of databases use of a net.Socket.
 * Reads and writes are on behalf of the connection's caller.
 *
 *     _read ─► read ─► push                     no read while the reader is slow
 *     _write, _writev ─► write ─► callback      it waits while the peer is slow, so that `write` returns false
 */
export class ConnectionDuplex extends Duplex {
  readonly connecting = false
  readonly pending = false
  /** What `setTimeout` was given. */
  timeout: number | undefined = undefined
  bytesRead = 0
  readonly #connection: OpenConnection
  readonly #unlocked: Unlocked
  readonly #local: AddressInfo | undefined
  readonly #remote: AddressInfo | undefined
  #sentBytes = 0
  #timer: NodeJS.Timeout | undefined = undefined
  /** The connection's, at the last timeout: a write that makes progress is not idle. */
  #queuedBytes = 0

  /** @internal @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE */
  constructor(connection: OpenConnection, unlocked: Unlocked, options: DuplexOptions | undefined) {
    const { allowHalfOpen = false, highWaterMark = 64 * 1024 } = ownOptions(options)
    checkBoolean(allowHalfOpen, 'options.allowHalfOpen')
    checkInteger(highWaterMark, 'options.highWaterMark')
    // 'close' is emitted when the connection is closed, with whether there was an error, as by net.Socket.
    super({ allowHalfOpen, highWaterMark, emitClose: false })
    this.#connection = connection
    this.#unlocked = unlocked
    this.#local = addressInfo(connection.localAddress)
    this.#remote = addressInfo(connection.remoteAddress)
    // A first read, so that a peer that ends or resets is noticed even if nobody reads.
    nextTick(() => this.read(0))
  }

  override _read(): void {
    this.#unlocked.read().then(this.#received, this.#failed)
  }

  /** A listener that throws is an uncaught exception, not this promise's rejection, and the reading goes on. */
  readonly #received = (bytes: Buffer | null): void => {
    try {
      this.#push(bytes)
    } catch (error) {
      reportUncaught(error)
      if (!this.destroyed) this.read(0)
    }
  }

  #push(bytes: Buffer | null): void {
    if (this.destroyed) return
    if (bytes !== null) {
      this.#timer?.refresh()
      this.bytesRead += bytes.length
      this.push(bytes)
      return
    }
    this.push(null)
    this.read(0) // 'end' is emitted even if nobody reads
  }

  /** The connection's own `close` is no error. A signal's reason may be anything. */
  readonly #failed = (error: NodeJS.ErrnoException | null | undefined): void => {
    if (error?.code === 'ERR_SOCKET_CLOSED') this.destroy()
    else this.destroy(error ?? undefined)
  }

  override _write(bytes: Buffer, _encoding: string, callback: (error?: Error) => void): void {
    this.#timer?.refresh()
    this.#unlocked.write(bytes).then(
      () => this.#sent(bytes.length, callback),
      error => this.#notSent(error, callback),
    )
  }

  /** Chunks that were corked, or written while a write was under way. Writes of one turn go in one send. */
  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error) => void): void {
    this.#timer?.refresh()
    const lengthBytes = chunks.reduce((sum, { chunk }) => sum + chunk.length, 0)
    Promise.all(chunks.map(({ chunk }) => this.#unlocked.write(chunk))).then(
      () => this.#sent(lengthBytes, callback),
      error => this.#notSent(error, callback),
    )
  }

  #sent(lengthBytes: number, callback: (error?: Error) => void): void {
    this.#sentBytes += lengthBytes
    this.#timer?.refresh()
    callBack(callback, undefined)
  }

  #notSent(error: Error, callback: (error: Error) => void): void {
    this.#failed(error)
    callBack(callback, error)
  }

  override _final(callback: (error?: Error) => void): void {
    this.#unlocked.end().then(
      () => callBack(callback, undefined),
      error => this.#notSent(error, callback),
    )
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.#timer)
    const closed = () => nextTick(() => this.emit('close', error !== null))
    this.#close().then(closed, closed)
    callback(error)
  }

  /**
   * A net.Socket tries each write at once. So what is written just before it is destroyed, such as http's 400 Bad
   * Request, arrives unless the peer is slow. Here the writes get two turns of the event loop for that.
   */
  async #close(): Promise<void> {
    const { writableBuffer = [] } = this as { writableBuffer?: { chunk: Buffer }[] }
    for (const { chunk } of writableBuffer) this.#unlocked.write(chunk).catch(ignored)
    for (let turn = 0; turn < 2 && this.#connection.queuedBytes > 0; turn++) await setImmediate()
    await this.#connection.close()
  }

  /** Destroys the stream when all that was written has been sent. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /**
   * Only emits 'connect', since it is connected. For clients such as pg, which call it on the stream they were given.
   * @param given as for net.Socket; only a listener at the end is used
   */
  connect(...given: unknown[]): this {
    const listener = given.at(-1)
    if (typeof listener === 'function') this.once('connect', () => listener.call(this))
    nextTick(() => {
      if (this.destroyed) return
      this.emit('connect')
      this.emit('ready')
    })
    return this
  }

  /**
   * Emits 'timeout' when nothing has been received or sent for `timeoutMs`. It does not destroy the stream.
   * @param timeoutMs 0: never; more than 2^31 − 1 is that much, with a warning, as for net.Socket
   * @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE
   */
  setTimeout(timeoutMs: number, listener?: () => void): this {
    if (typeof timeoutMs !== 'number') throw invalidType('timeoutMs', 'a number', timeoutMs)
    if (!(timeoutMs >= 0 && timeoutMs < Number.POSITIVE_INFINITY))
      throw outOfRange('timeoutMs', 'a non-negative finite number', timeoutMs)
    if (this.destroyed) return this
    if (timeoutMs > mostMs) {
      process.emitWarning(`${timeoutMs} does not fit into a 32-bit signed integer.`, 'TimeoutOverflowWarning')
      timeoutMs = mostMs
    }
    this.timeout = timeoutMs
    clearTimeout(this.#timer)
    if (timeoutMs === 0) {
      this.#timer = undefined
      if (listener !== undefined) this.off('timeout', listener)
    } else {
      this.#queuedBytes = this.#connection.queuedBytes
      this.#timer = setTimeout(this.#timedOut, timeoutMs).unref()
      if (listener !== undefined) this.once('timeout', listener)
    }
    return this
  }

  readonly #timedOut = (): void => {
    const { queuedBytes } = this.#connection
    if (queuedBytes < this.#queuedBytes) this.#timer?.refresh()
    else this.emit('timeout')
    this.#queuedBytes = queuedBytes
  }

  setNoDelay(on = true): this {
    if (!this.destroyed) this.#unlocked.setNoDelay(Boolean(on))
    return this
  }

  /** @param initialDelayMs how long the peer may be silent before it is probed; 0: the default of Linux and libuv */
  setKeepAlive(on = false, initialDelayMs = 0): this {
    if (!this.destroyed)
      this.#unlocked.setKeepAlive(Boolean(on), initialDelayMs > 0 ? initialDelayMs : keepAliveDelayMs)
    return this
  }

  ref(): this {
    this.#unlocked.setRef(true)
    return this
  }

  unref(): this {
    this.#unlocked.setRef(false)
    return this
  }

  /** How many bytes wait to be sent, as for net.Socket. */
  get bufferSize(): number | undefined {
    return this.destroyed ? undefined : this.writableLength
  }

  /** How many bytes were written, sent or not. */
  get bytesWritten(): number {
    return this.#sentBytes + this.writableLength
  }

  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  /** This side's address, as for net.Socket: {} for a Unix-domain socket. */
  address(): AddressInfo | object {
    return this.#local ?? {}
  }

  get localAddress(): string | undefined {
    return this.#local?.address
  }

  get localPort(): number | undefined {
    return this.#local?.port
  }

  get localFamily(): string | undefined {
    return this.#local?.family
  }

  get remoteAddress(): string | undefined {
    return this.#remote?.address
  }

  get remotePort(): number | undefined {
    return this.#remote?.port
  }

  get remoteFamily(): string | undefined {
    return this.#remote?.family
  }
}

/** undefined for a Unix-domain socket, as in node:net. */
function addressInfo(at: SocketAddress | undefined): AddressInfo | undefined {
  if (at === undefined || at.family === 'Unix') return undefined
  const { address, family, port } = at
  return { address, family, port }
}

/** A user's callback that throws is an uncaught exception, not a promise's rejection. */
function callBack<E>(callback: (error: E) => void, error: E): void {
  try {
    callback(error)
  } catch (thrown) {
    reportUncaught(thrown)
  }
}

function ignored(): void {}
