import type { AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { checkInteger } from '@kiruna/priority/arguments'
import { invalidType } from '@kiruna/priority/error'
import type { SocketAddress } from './address.ts'
import { checkBoolean } from './arguments.ts'

export interface DuplexOptions {
  /** This side stays open when the other has ended, until `end` is called. As in node:net it does not: false. */
  allowHalfOpen?: boolean
  /** So many bytes are read ahead, and so many may wait to be sent before `write` returns false: 64 KiB. */
  highWaterMark?: number
}

/** What a stream asks of its connection, as others may. */
interface OpenConnection {
  readonly localAddress: SocketAddress | undefined
  readonly remoteAddress: SocketAddress | undefined
  readonly queuedBytes: number
  close(): Promise<void>
}

/** And what is its alone: locked for all others. */
interface Unlocked {
  read(): Promise<Buffer | null>
  write(bytes: Uint8Array): Promise<void>
  end(): Promise<void>
  setNoDelay(on: boolean): void
  setKeepAlive(on: boolean, delayMs: number): void
  setRef(isRef: boolean): void
}

/** The longest delay that a timer has. */
const mostMs = 2 ** 31 - 1
/** As Linux and libuv have it, where one asks for keep-alive and nothing else. @see tcp(7) tcp_keepalive_time */
export const keepAliveDelayMs = 7_200_000

/**
 * A connection as node:stream knows it, with what Node's http and tls and the clients of databases ask of a net.Socket.
 * Reads and writes are on behalf of the connection's caller.
 *
 *     _read ─► read ─► push                     no read while the reader is slow
 *     _write, _writev ─► write ─► callback      which waits while the peer is slow, so that `write` returns false
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
  /** When the timer last looked: a write of which some goes out is not idle. */
  #queuedBytes = 0

  /** @internal @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE */
  constructor(connection: OpenConnection, unlocked: Unlocked, options: DuplexOptions) {
    const { allowHalfOpen = false, highWaterMark = 64 * 1024 } = options
    checkBoolean(allowHalfOpen, 'options.allowHalfOpen')
    checkInteger(highWaterMark, 'options.highWaterMark')
    // 'close' comes when the connection is closed, and says whether for an error: as net.Socket does it.
    super({ allowHalfOpen, highWaterMark, emitClose: false })
    this.#connection = connection
    this.#unlocked = unlocked
    this.#local = addressInfo(connection.localAddress)
    this.#remote = addressInfo(connection.remoteAddress)
    // A peer that ends or resets is noticed though nobody reads.
    process.nextTick(() => this.read(0))
  }

  override _read(): void {
    this.#unlocked.read().then(this.#received, this.#failed)
  }

  readonly #received = (bytes: Buffer | null): void => {
    if (this.destroyed) return
    if (bytes !== null) {
      this.#timer?.refresh()
      this.bytesRead += bytes.length
      this.push(bytes)
      return
    }
    this.push(null)
    this.read(0) // nobody may be reading: 'end' comes all the same
  }

  /** What the connection's own `close` has ended has not failed. A signal's reason may be anything. */
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

  /** What was corked, or came while a write was under way: one send, for those of one turn go out together. */
  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error) => void): void {
    this.#timer?.refresh()
    const lengthBytes = chunks.reduce((sum, { chunk }) => sum + chunk.length, 0)
    Promise.all(chunks.map(({ chunk }) => this.#unlocked.write(chunk))).then(
      () => this.#sent(lengthBytes, callback),
      error => this.#notSent(error, callback),
    )
  }

  #sent(lengthBytes: number, callback: () => void): void {
    this.#sentBytes += lengthBytes
    this.#timer?.refresh()
    callback()
  }

  #notSent(error: Error, callback: (error: Error) => void): void {
    this.#failed(error)
    callback(error)
  }

  override _final(callback: (error?: Error) => void): void {
    this.#unlocked.end().then(
      () => callback(),
      error => this.#notSent(error, callback),
    )
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearTimeout(this.#timer)
    const closed = () => process.nextTick(() => this.emit('close', error !== null))
    this.#close().then(closed, closed)
    callback(error)
  }

  /**
   * A net.Socket tries each write at once: what is written just before it is destroyed, such as http's 400 Bad Request,
   * arrives, unless the peer is slow. So it has two turns of the event loop here.
   */
  async #close(): Promise<void> {
    const { writableBuffer = [] } = this as { writableBuffer?: { chunk: Buffer }[] }
    for (const { chunk } of writableBuffer) this.#unlocked.write(chunk).catch(ignored)
    for (let turn = 0; turn < 2 && this.#connection.queuedBytes > 0; turn++) await setImmediate()
    await this.#connection.close()
  }

  /** Destroys it when all that was written has been sent. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /**
   * It is connected; 'connect' follows all the same. For clients that call it on the stream they were given: pg.
   * @param given as net.Socket's; only a listener at the end is looked at
   */
  connect(...given: unknown[]): this {
    const listener = given.at(-1)
    if (typeof listener === 'function') this.once('connect', () => listener.call(this))
    process.nextTick(() => {
      if (this.destroyed) return
      this.emit('connect')
      this.emit('ready')
    })
    return this
  }

  /**
   * Emits 'timeout' when for so long nothing has come and nothing has been sent. To destroy it is up to you.
   * @param timeoutMs 0 for never
   * @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE
   */
  setTimeout(timeoutMs: number, listener?: () => void): this {
    if (typeof timeoutMs === 'number') checkInteger(Math.ceil(timeoutMs), 'timeoutMs', 0, mostMs)
    else throw invalidType('timeoutMs', 'a number', timeoutMs)
    if (this.destroyed) return this
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

  /** @param initialDelayMs how long the peer may be silent before it is asked; 0: as the system has it */
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

  /** Of what was written, sent or not. */
  get bytesWritten(): number {
    return this.#sentBytes + this.writableLength
  }

  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  /** Of this side, as net.Socket's: {} of a Unix-domain socket. */
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

/** A Unix-domain socket has none, as in node:net. */
function addressInfo(at: SocketAddress | undefined): AddressInfo | undefined {
  if (at === undefined || at.family === 'Unix') return undefined
  const { address, family, port } = at
  return { address, family, port }
}

function ignored(): void {}
