import type { Socket } from 'node:net'
import type { Asker } from '@kiruna/priority'
import { coded } from '@kiruna/priority/error'
import type { SocketAddress } from './address.ts'
import { Connection } from './connection.ts'
import { handOver } from './libuv-batch.ts'
import type { Waiting } from './waiting.ts'

/** libuv reads so much at a time, and node:net stops reading when so much waits. */
export const pieceBytes = 64 * 1024
/** So much is given to libuv at a time. */
const mostSentBytes = 256 * 1024

/** A connection over a net.Socket, which is made with `pieceBytes` for its mark, and half open where one side ends. */
export class LibuvConnection extends Connection {
  readonly #socket: Socket
  readonly #local: SocketAddress | undefined
  readonly #remote: SocketAddress | undefined
  /** Somebody waits for what comes next. */
  #isAsked = false
  #isRef = true
  #ended = false
  #error: Error | undefined = undefined
  /** It was destroyed because of a write that nobody wanted any more. */
  #isCancelled = false

  /** @param path of a Unix-domain socket, which node:net does not tell */
  constructor(socket: Socket, caller: Asker, local?: SocketAddress, remote?: SocketAddress) {
    super(caller)
    this.#local = local ?? addressOf(socket.localAddress, socket.localPort)
    this.#remote = remote ?? addressOf(socket.remoteAddress, socket.remotePort)
    this.#socket = socket
      .on('readable', this.#readable)
      .on('end', this.#ends)
      .on('error', this.#fails)
      .on('close', this.#closes)
      .unref()
  }

  get localAddress(): SocketAddress | undefined {
    return this.#local
  }

  get remoteAddress(): SocketAddress | undefined {
    return this.#remote
  }

  handOver(one: Waiting<never>): void {
    handOver(one)
  }

  delivered(): void {}

  protected receive(): void {
    if (this.#error !== undefined) this.receiveFailed(this.#error)
    else if (this.#ended) this.receivedEnd()
    else {
      this.#isAsked = true
      if (this.#isRef) this.#socket.ref()
      this.#readable()
    }
  }

  /** Its buffer is empty: then a read starts libuv again. */
  readonly #readable = (): void => {
    if (!this.#isAsked) return
    const bytes: Buffer | null = this.#socket.read(
      Math.min(this.#socket.readableLength, pieceBytes) || undefined,
    )
    if (bytes !== null && this.#answer()) this.received(bytes)
  }

  readonly #ends = (): void => {
    this.#ended = true
    if (this.#answer()) this.receivedEnd()
  }

  readonly #fails = (error: Error): void => {
    this.#error = error
    if (this.#answer()) this.receiveFailed(error)
  }

  /** Destroyed without an error: a write was cancelled. */
  readonly #closes = (): void => {
    if (!this.#ended) this.#fails(this.#error ?? coded(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed'))
  }

  /** Nobody waits any more. Returns false where nobody has. */
  #answer(): boolean {
    if (!this.#isAsked) return false
    this.#isAsked = false
    this.#socket.unref()
    return true
  }

  protected cancelReceive(): void {
    if (!this.#answer()) return
    this.receiveCancelled()
    this.idle()
  }

  protected sendSoon(): void {
    process.nextTick(this.#send)
  }

  readonly #send = (): void => {
    const buffers = this.takeToSend(mostSentBytes)
    if (buffers.length === 0) {
      this.idle()
      return
    }
    const lengthBytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const last = buffers.pop()!
    this.#socket.cork()
    for (const bytes of buffers) this.#socket.write(bytes)
    this.#socket.write(last, error => {
      if (error == null) this.sent(lengthBytes)
      else if (this.#isCancelled)
        this.sent(0) // nobody knows how much the peer has
      else this.sendFailed(this.#error ?? error)
      this.idle()
    })
    this.#socket.uncork()
  }

  /** libuv cannot take a write back: it lets go of the connection, and of the bytes. */
  protected cancelSend(): void {
    this.#isCancelled = true
    this.#socket.destroy()
  }

  protected shutdown(): void {
    this.#socket.end((error?: Error | null) => {
      this.shutDown(error == null ? undefined : (this.#error ?? error))
      this.idle()
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
