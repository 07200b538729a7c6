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
 * One piece at most is read before it is asked for (64 KiB; on libuv two): a peer that sends what nobody reads is held up
 * by the kernel's own buffer. A write resolves when the kernel has taken all of its bytes; what
 * waits until then are the caller's own bytes, `queuedBytes` of them, and no copy is made.
 *
 * An implementation adds the system calls: see Reads and Writes.
 */
export abstract class Connection extends Writes implements AsyncIterable<Buffer>, AsyncDisposable {
  #isLocked = false
  #noDelay = true
  #keepAlive = false
  #closing: Promise<void> | undefined = undefined
  #onIdle: (() => void) | undefined = undefined

  /** Where it is from here: what the OS says, undefined when it is closed. */
  abstract get localAddress(): SocketAddress | undefined

  /** Whom it is to. A Unix-domain client has an empty path. */
  abstract get remoteAddress(): SocketAddress | undefined

  /** Small writes go out at once, and do not wait for the acknowledgement of the ones before: true at first. TCP only. */
  get noDelay(): boolean {
    return this.#noDelay
  }

  set noDelay(on: boolean) {
    this.#noDelay = checkBoolean(on, 'noDelay')
    this.setNoDelay(on)
  }

  /** Asks a silent peer now and then whether it is still there: false at first. TCP only. @see tcp(7) */
  get keepAlive(): boolean {
    return this.#keepAlive
  }

  set keepAlive(on: boolean) {
    this.#keepAlive = checkBoolean(on, 'keepAlive')
    this.setKeepAlive(on, keepAliveDelayMs)
  }

  /**
   * The next bytes, as they come: at least one, at most 64 KiB. They are yours. null: the peer has ended.
   * Of several that wait, the most urgent is first. An aborted read has taken nothing.
   * @throws ECONNRESET, ETIMEDOUT … (`err.code`); the signal's reason; ERR_SOCKET_CLOSED; ERR_LOCKED
   * @see recv(2)
   */
  read(caller?: Caller): Promise<Buffer | null> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterRead(caller)
  }

  /**
   * The same into memory of yours, from its beginning: for what comes as a stream, for each `read` makes garbage of what
   * it returns. The memory is not yours until it settles: transferred meanwhile, what comes may be lost. Resolves with how
   * many bytes have come; 0: the peer has ended.
   * @param buffer any view, of shared memory too
   * @throws as `read` does; ERR_INVALID_ARG_TYPE; ERR_INVALID_ARG_VALUE: empty, or resizable; ERR_INVALID_STATE: detached
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
   * Memory for one receive: that of who gets what comes now, if it has some; otherwise as much as is said. Either of the
   * two below gives it back.
   */
  protected takeReaderMemory(lengthBytes: number): Memory {
    const { nextRead } = this
    if (!(nextRead instanceof ReadInto) || nextRead.isDetached) return takeMemory(lengthBytes)
    nextRead.fill()
    return nextRead
  }

  /** So many bytes have come. */
  protected receivedInto(memory: Memory, lengthBytes: number): void {
    if (memory instanceof ReadInto) this.receivedBy(memory, memory.filled(lengthBytes))
    else this.received(claim(memory, lengthBytes))
  }

  /** None has. */
  protected giveBackUnused(memory: Memory): void {
    if (memory instanceof ReadInto) memory.filled(0)
    else giveBack(memory)
  }

  /**
   * Sends all of the bytes, in the order of the calls; a string as UTF-8. They are yours again when it resolves: the
   * kernel has them then, not yet the peer. Those of one turn go out together.
   * A write that is aborted before any of it is sent leaves no trace; later, every write behind it fails with the reason.
   * @throws EPIPE, ECONNRESET … (`err.code`); the signal's reason; ERR_STREAM_WRITE_AFTER_END; ERR_SOCKET_CLOSED;
   *   ERR_LOCKED; ERR_INVALID_ARG_TYPE
   * @see send(2)
   */
  write(bytes: string | Uint8Array, caller?: Caller): Promise<void> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterWrite(bytes, caller)
  }

  /**
   * When all has been written: tells the peer that no more comes. Reading goes on. Idempotent.
   * @throws what a write has failed with
   * @see shutdown(2)
   */
  end(): Promise<void> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterEnd()
  }

  /**
   * Closes at once, both ways: what waits rejects with ERR_SOCKET_CLOSED. Idempotent; resolves when it is closed.
   * TCP resets the connection if the peer has sent what was not read; a peer that is to get everything needs `end`, and
   * a read until null.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Each `next` is a read. Leaving the loop does not close. */
  [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined, undefined> {
    return new ReadLoop(this)
  }

  /** @internal a loop's */
  nextInLoop(): Promise<IteratorResult<Buffer, undefined>> {
    return this.#isLocked ? Promise.reject(locked()) : this.enterIteration()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @see tcp(7) TCP_NODELAY */
  protected abstract setNoDelay(on: boolean): void
  /** @param delayMs how long the peer may be silent before it is asked. @see tcp(7) TCP_KEEPIDLE */
  protected abstract setKeepAlive(on: boolean, delayMs: number): void
  /** What is under way keeps the process alive, or not. */
  protected abstract setRef(isRef: boolean): void

  /**
   * The same connection as a node:stream, for http, tls, and whatever else takes a net.Socket. From then on it is the
   * stream's: `read`, `readInto`, `write` and `end` are ERR_LOCKED. It reads and writes on behalf of `caller`, as ever.
   * @throws ERR_LOCKED: it is one already; TypeError, RangeError
   */
  toDuplex(options: DuplexOptions = {}): ConnectionDuplex {
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

  /** Neither half is the OS's any more: closes. @see close(2) */
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

/** A class: thousands of loops may wait, and a closure for each costs more than the rest of it. */
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
