import { askerOf, type Caller } from '@kiruna/priority'
import { checkBuffer } from '@kiruna/priority/arguments'
import { coded, invalidValue } from '@kiruna/priority/error'
import type { SocketAddress } from './address.ts'
import { checkBoolean } from './arguments.ts'
import { ConnectionDuplex, type DuplexOptions, keepAliveDelayMs } from './duplex.ts'
import { ReadInto } from './read-into.ts'
import { claim, giveBack, type Memory, takeMemory } from './receive-memory.ts'
import type { Waiting } from './waiting.ts'
import { Writes } from './writing-half.ts'

/**
 * A connection: bytes in order, both ways, each read and each write on behalf of a caller.
 *
 * At most one piece is read ahead (64 KiB; on libuv two): if nobody reads, the kernel's buffer fills and holds up the
 * peer. A write resolves when the kernel has taken all of its bytes. Until then the caller's own bytes wait,
 * `queuedBytes` of them, without a copy.
 *
 * An implementation adds the system calls: see Reads and Writes.
 */
export abstract class Connection extends Writes implements AsyncIterable<Buffer>, AsyncDisposable {
  #isLocked = false
  #noDelay = true
  #keepAlive = false
  #closing: Promise<void> | undefined = undefined
  #onIdle: (() => void) | undefined = undefined

  /** This side's address, as the OS tells it; undefined if it was closed before it was asked. */
  abstract get localAddress(): SocketAddress | undefined

  /** The peer's address. A Unix-domain client's path is empty. */
  abstract get remoteAddress(): SocketAddress | undefined

  /** Small writes do not wait for the acknowledgement of earlier ones; true by default. TCP only. */
  get noDelay(): boolean {
    return this.#noDelay
  }

  set noDelay(on: boolean) {
    this.#noDelay = checkBoolean(on, 'noDelay')
    this.setNoDelay(on)
  }

  /** Probes a silent peer now and then, whether it is still there; false by default. TCP only. @see tcp(7) */
  get keepAlive(): boolean {
    return this.#keepAlive
  }

  set keepAlive(on: boolean) {
    this.#keepAlive = checkBoolean(on, 'keepAlive')
    this.setKeepAlive(on, keepAliveDelayMs)
  }

  /**
   * The next bytes, as they come: at least one, at most 64 KiB. They are yours. null: the peer has ended.
   * If several reads wait, the most urgent gets them. An aborted read has taken nothing.
   * @throws ECONNRESET, ETIMEDOUT … (`err.code`); the signal's reason; ERR_SOCKET_CLOSED; ERR_LOCKED
   * @see recv(2)
   */
  read(caller?: Caller): Promise<Buffer | null> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterRead(caller)
  }

  /**
   * Reads into your memory, from its beginning: for bulk data, since each `read` allocates what it returns. Do not use
   * the memory before it settles; if it is transferred meanwhile, bytes may be lost.
   * @param buffer any view, of shared memory too
   * @returns how many bytes were read; 0: the peer has ended
   * @throws as `read`; ERR_INVALID_ARG_TYPE; ERR_INVALID_ARG_VALUE: empty, or resizable; ERR_INVALID_STATE: detached
   * @see recv(2)
   */
  readInto(buffer: NodeJS.ArrayBufferView, caller?: Caller): Promise<number> {
    if (this.#isLocked) return Promise.reject(locked())
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      if (buffer.byteLength === 0) throw invalidValue('buffer', 'must not be empty: 0 is the end', buffer)
      const asker = caller === undefined ? undefined : askerOf(caller)
      this.enter(new ReadInto(this, buffer, asker, resolve, reject))
    })
  }

  /**
   * Memory for one receive: the next reader's own, if it has some, otherwise `lengthBytes` of ours. `receivedInto` or
   * `giveBackUnused` follows.
   */
  protected takeReaderMemory(lengthBytes: number): Memory {
    const { nextRead } = this
    if (!(nextRead instanceof ReadInto) || nextRead.isDetached) return takeMemory(lengthBytes)
    nextRead.fill()
    return nextRead
  }

  /** The memory has the bytes of a receive. */
  protected receivedInto(memory: Memory, lengthBytes: number): void {
    let bytes: Buffer | undefined
    try {
      bytes = memory instanceof ReadInto ? memory.filled(lengthBytes) : claim(memory, lengthBytes)
    } catch (error) {
      this.receiveFailed(error) // no memory: what has been received is lost, so nothing can follow it
      return
    }
    if (memory instanceof ReadInto) this.receivedBy(memory, bytes)
    else this.received(bytes!)
  }

  /** The receive has brought nothing. */
  protected giveBackUnused(memory: Memory): void {
    if (memory instanceof ReadInto) memory.filled(0)
    else giveBack(memory)
  }

  /**
   * Sends all of the bytes, in the order of the calls; a string as UTF-8. Do not change them before it resolves: then
   * the kernel has them, but perhaps not yet the peer. The writes of one turn are sent together. A write that is
   * aborted before any of it is sent is dropped. If a part of it was sent, every write behind it fails with the reason.
   * @throws EPIPE, ECONNRESET … (`err.code`); the signal's reason; ERR_STREAM_WRITE_AFTER_END; ERR_SOCKET_CLOSED;
   *   ERR_LOCKED; ERR_INVALID_ARG_TYPE
   * @see send(2)
   */
  write(bytes: string | Uint8Array, caller?: Caller): Promise<void> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterWrite(bytes, caller)
  }

  /**
   * Shuts down the writing side once all has been written: the peer reads the end. Reading goes on. Idempotent.
   * @throws the error of a write that has failed
   * @see shutdown(2)
   */
  end(): Promise<void> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterEnd()
  }

  /**
   * Closes at once, both ways: reads and writes that wait reject with ERR_SOCKET_CLOSED. Idempotent.
   * TCP resets the connection if the peer has sent bytes that were not read. If the peer must get everything, call
   * `end` first, and read until null.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Each `next` is a read. Leaving the loop does not close the connection. */
  [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined, undefined> {
    return new ReadLoop(this)
  }

  /** @internal the `next` of a loop */
  nextInLoop(): Promise<IteratorResult<Buffer, undefined>> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterIteration()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @see tcp(7) TCP_NODELAY */
  protected abstract setNoDelay(on: boolean): void
  /** @param delayMs how long the peer may be silent before it is probed. @see tcp(7) TCP_KEEPIDLE */
  protected abstract setKeepAlive(on: boolean, delayMs: number): void
  /** Whether what is under way keeps the process alive. */
  protected abstract setRef(isRef: boolean): void

  /**
   * The same connection as a node:stream, for http, tls, and whatever else takes a net.Socket. From then on only the
   * stream may use it: `read`, `readInto`, `write` and `end` reject with ERR_LOCKED. It reads and writes on behalf of
   * `caller`.
   * @throws ERR_LOCKED: it was called before; TypeError, RangeError
   */
  toDuplex(options?: DuplexOptions): ConnectionDuplex {
    if (this.#isLocked) throw locked()
    const unlocked = {
      read: () => this.enterRead(undefined),
      write: (bytes: Uint8Array) => this.enterWrite(bytes, undefined),
      end: () => this.enterEnd(),
      setNoDelay: (on: boolean) => this.setNoDelay(on),
      setKeepAlive: (on: boolean, delayMs: number) => this.setKeepAlive(on, delayMs),
      setRef: (isRef: boolean) => this.setRef(isRef),
    }
    const duplex = new ConnectionDuplex(this, unlocked, options)
    this.#isLocked = true
    return duplex
  }

  /** Called when the OS has nothing of either half. @see close(2) */
  protected abstract closeSocket(): Promise<unknown>

  protected override idle(): void {
    if (this.#onIdle !== undefined && !this.isReceiving && this.isWriteIdle) this.#onIdle()
  }

  abort(one: Waiting<never>, reason: unknown): void {
    if (!this.abortRead(one, reason)) this.abortWrite(one, reason)
  }

  async #close(): Promise<void> {
    const reason = coded(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed')
    const isReceiving = this.isReceiving
    this.readsClose(reason)
    if (isReceiving) this.cancelReceive(true)
    this.writesEnd(reason)
    if (this.isReceiving || !this.isWriteIdle) await new Promise<void>(resolve => (this.#onIdle = resolve))
    await this.closeSocket()
  }
}

/** A class, since thousands of loops may wait, and a closure for each would cost more than the rest. */
class ReadLoop implements AsyncIterator<Buffer, undefined, undefined> {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  next(): Promise<IteratorResult<Buffer, undefined>> {
    return this.#connection.nextInLoop()
  }
}

function locked(): Error {
  return coded(Error, 'ERR_LOCKED', 'The connection is a Duplex now: use that')
}
