import type { Socket } from 'node:net'
import { internetAddress, type SocketAddress } from '@kiruna/net-socket/address'
import { Connection } from '@kiruna/net-socket/connection'
import { copyOf } from '@kiruna/net-socket/receive-memory'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { nextTick, setImmediate } from '@kiruna/priority/timers'
import { handOver, thisBatch } from './batch.ts'

/** The most that libuv reads at a time; node:net stops reading when as much waits. */
export const pieceBytes = 64 * 1024

/** A connection over a net.Socket whose highWaterMark is `pieceBytes`, and which stays half open when one side ends. */
export class LibuvConnection extends Connection {
  readonly #socket: Socket
  /** Noted when it was opened: a net.Socket that has ended does not know them. */
  readonly #addresses: { local: SocketAddress | undefined; remote: SocketAddress | undefined }
  #local: SocketAddress | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  /** A reader waits. */
  #isAsked = false
  #isRef = true
  #receivedIn = -1
  /** The peer has ended, or there was an error. */
  #ended: { error?: Error } | undefined = undefined
  #isClosed = false
  /** What libuv is sending now. */
  #sending: object | undefined = undefined
  #abortedWith: { reason: unknown } | undefined = undefined

  /** @param local and `remote`: given for a Unix-domain socket, for which node:net does not tell them */
  constructor(socket: Socket, caller: Asker, local?: SocketAddress, remote?: SocketAddress) {
    super(caller)
    this.#addresses = {
      local: local ?? addressOf(socket.localAddress, socket.localPort),
      remote: remote ?? addressOf(socket.remoteAddress, socket.remotePort),
    }
    this.#socket = socket
      .on('readable', this.#onReadable)
      .on('end', this.#onEnd)
      .on('error', this.#onError)
      .unref()
  }

  get localAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#local = this.#addresses.local
    return this.#local
  }

  get remoteAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#remote = this.#addresses.remote
    return this.#remote
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  protected startReceive(): void {
    this.#isAsked = true
    if (this.#isRef) this.#socket.ref()
    this.#onReadable()
  }

  /**
   * Hands over one piece a batch: of two in one batch, the second would be first if its reader is more urgent. With an
   * empty buffer, `read` starts libuv again.
   */
  readonly #onReadable = (): void => {
    if (!this.#isAsked) return
    if (this.#receivedIn === thisBatch()) {
      setImmediate(this.#onReadable)
      return
    }
    const bytes: Buffer | null = this.#socket.read(
      Math.min(this.#socket.readableLength, pieceBytes) || undefined,
    )
    if (bytes === null && this.#ended === undefined) return
    this.#isAsked = false
    this.#socket.unref()
    this.#receivedIn = thisBatch()
    if (bytes !== null) this.received(owned(bytes))
    else if (this.#ended!.error === undefined) this.receivedEnd()
    else this.receiveFailed(this.#ended!.error)
  }

  readonly #onEnd = (): void => {
    this.#ended ??= {}
    this.#onReadable()
  }

  readonly #onError = (error: Error): void => {
    this.#ended = { error }
    this.#onReadable()
  }

  protected cancelReceive(): void {
    this.#isAsked = false
    this.#socket.unref()
    this.receiveCancelled()
  }

  protected sendSoon(): void {
    nextTick(this.#send)
  }

  readonly #send = (): void => {
    const buffers = this.takeToSend(pieceBytes)
    if (buffers.length === 0) return
    // A copy: libuv cannot cancel a write, so an aborted one would go on with memory that the caller may use again.
    let bytes: Buffer
    try {
      bytes = Buffer.concat(buffers)
    } catch (error) {
      this.sendFailed(error) // no memory
      return
    }
    this.#sending = bytes
    this.#socket.write(bytes, error => {
      if (this.#sending !== bytes) return
      this.#sending = undefined
      if (error == null) this.sent(bytes.length)
      else this.sendFailed(this.#ended?.error ?? error)
    })
  }

  override abort(one: Waiting<never>, reason: unknown): void {
    this.#abortedWith = { reason }
    super.abort(one, reason)
    this.#abortedWith = undefined
  }

  /** It is unknown how much of it has been sent, so nothing can follow it. */
  protected cancelSend(): void {
    if (this.#sending === undefined) return // `#send` is about to run, and takes what is left
    this.#sending = undefined
    if (this.#abortedWith === undefined) this.sent(0)
    else this.sendFailed(this.#abortedWith.reason)
  }

  protected shutdown(): void {
    this.#socket.end((error?: Error | null) => {
      this.shutDown(error == null ? undefined : (this.#ended?.error ?? error))
    })
  }

  protected readRankChanged(): void {}

  protected writeRankChanged(): void {}

  protected setNoDelay(on: boolean): void {
    this.#socket.setNoDelay(on)
  }

  protected setKeepAlive(on: boolean, delayMs: number): void {
    this.#socket.setKeepAlive(on, delayMs)
  }

  protected setRef(isRef: boolean): void {
    this.#isRef = isRef
    if (isRef && this.#isAsked) this.#socket.ref()
    else this.#socket.unref()
  }

  protected closeSocket(): Promise<void> {
    this.#isClosed = true
    return new Promise(resolve => {
      if (this.#socket.closed) resolve()
      else this.#socket.once('close', () => resolve()).destroy()
    })
  }
}

/** Memory that holds these bytes alone. libuv gives each read its own, but node:stream may cut it, or join two. */
function owned(bytes: Buffer): Buffer {
  return bytes.length === bytes.buffer.byteLength ? bytes : copyOf(bytes)
}

function addressOf(address: string | undefined, port: number | undefined): SocketAddress | undefined {
  return address === undefined || port === undefined ? undefined : internetAddress(address, port)
}
