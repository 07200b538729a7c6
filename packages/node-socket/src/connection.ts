import type { Socket } from 'node:net'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { Connection } from '@kiruna/net-socket/connection'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { handOver, thisBatch } from './batch.ts'

/** libuv reads so much at a time, and node:net stops reading when so much waits. */
export const pieceBytes = 64 * 1024

/** A connection over a net.Socket, which is made with `pieceBytes` for its mark, and half open where one side ends. */
export class LibuvConnection extends Connection {
  readonly #socket: Socket
  /** As it was when it was opened: a net.Socket that is at an end does not know. */
  readonly #names: { local: SocketAddress | undefined; remote: SocketAddress | undefined }
  #local: SocketAddress | undefined = undefined
  #remote: SocketAddress | undefined = undefined
  /** Somebody waits for what comes next. */
  #isAsked = false
  #isRef = true
  #receivedIn = -1
  /** The peer has ended, or something has gone wrong. */
  #over: { error?: Error } | undefined = undefined
  #isClosed = false
  /** What libuv is sending now. */
  #sending: object | undefined = undefined
  #abortedWith: { reason: unknown } | undefined = undefined

  /** @param local and `remote`: of a Unix-domain socket, which node:net does not tell */
  constructor(socket: Socket, caller: Asker, local?: SocketAddress, remote?: SocketAddress) {
    super(caller)
    this.#names = {
      local: local ?? addressOf(socket.localAddress, socket.localPort),
      remote: remote ?? addressOf(socket.remoteAddress, socket.remotePort),
    }
    this.#socket = socket
      .on('readable', this.#readable)
      .on('end', this.#ends)
      .on('error', this.#fails)
      .unref()
  }

  get localAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#local = this.#names.local
    return this.#local
  }

  get remoteAddress(): SocketAddress | undefined {
    if (!this.#isClosed) this.#remote = this.#names.remote
    return this.#remote
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  delivered(): void {}

  protected receive(): void {
    this.#isAsked = true
    if (this.#isRef) this.#socket.ref()
    this.#readable()
  }

  /**
   * A piece a batch: of two in one, the second would be first where its reader is more urgent. Where the buffer is empty,
   * `read` starts libuv again.
   */
  readonly #readable = (): void => {
    if (!this.#isAsked) return
    if (this.#receivedIn === thisBatch()) {
      setImmediate(this.#readable)
      return
    }
    const bytes: Buffer | null = this.#socket.read(
      Math.min(this.#socket.readableLength, pieceBytes) || undefined,
    )
    if (bytes === null && this.#over === undefined) return
    this.#isAsked = false
    this.#socket.unref()
    this.#receivedIn = thisBatch()
    if (bytes !== null) this.received(bytes)
    else if (this.#over!.error === undefined) this.receivedEnd()
    else this.receiveFailed(this.#over!.error)
  }

  readonly #ends = (): void => {
    this.#over ??= {}
    this.#readable()
  }

  readonly #fails = (error: Error): void => {
    this.#over = { error }
    this.#readable()
  }

  protected cancelReceive(): void {
    this.#isAsked = false
    this.#socket.unref()
    this.receiveCancelled()
  }

  protected sendSoon(): void {
    process.nextTick(this.#send)
  }

  readonly #send = (): void => {
    const buffers = this.takeToSend(pieceBytes)
    if (buffers.length === 0) return
    // A copy: libuv cannot take a write back, so that an aborted one would go on with memory that is yours again.
    const bytes = Buffer.concat(buffers)
    this.#sending = bytes
    this.#socket.write(bytes, error => {
      if (this.#sending !== bytes) return
      this.#sending = undefined
      if (error == null) this.sent(bytes.length)
      else this.sendFailed(this.#over?.error ?? error)
    })
  }

  override abort(one: Waiting<never>, reason: unknown): void {
    this.#abortedWith = { reason }
    super.abort(one, reason)
    this.#abortedWith = undefined
  }

  /** Nobody knows how much of it has gone: nothing follows it. */
  protected cancelSend(): void {
    if (this.#sending === undefined) return // it is about to look what there is to send
    this.#sending = undefined
    if (this.#abortedWith === undefined) this.sent(0)
    else this.sendFailed(this.#abortedWith.reason)
  }

  protected shutdown(): void {
    this.#socket.end((error?: Error | null) => {
      this.shutDown(error == null ? undefined : (this.#over?.error ?? error))
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

function addressOf(address: string | undefined, port: number | undefined): SocketAddress | undefined {
  if (address === undefined || port === undefined) return undefined
  return { family: address.includes(':') ? 'IPv6' : 'IPv4', address, port }
}
