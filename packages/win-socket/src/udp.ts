import type { SocketAddress } from '@kiruna/net-socket/address'
import { Datagrams, type Send } from '@kiruna/net-socket/datagrams'
import { socketError } from '@kiruna/net-socket/socket-error'
import { unmapped } from '@kiruna/net-socket/udp'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Asker } from '@kiruna/priority'
import { errnoOf } from '@kiruna/priority/error'
import { type Completion, type Port, port } from '@kiruna/win-iocp/iocp'
import { senderBytes } from '@kiruna/win-iocp/native'
import { addressFor, addressFrom } from './address.ts'
import { changeMembership } from './udp-options.ts'

const ECANCELED = errnoOf('ECANCELED')
/** What does not pass. All else is short of memory, or an earlier datagram's: what comes next is received all the same. */
const lasting = new Set(['EBADF', 'ENOTSOCK', 'EINVAL', 'EFAULT'].map(errnoOf))
const pauseMs = 1

const largestBytes = 64 * 1024

/**
 * A UDP socket on the completion port. A receive waits with memory for the largest datagram: without, it could
 * only look, and would be told of a datagram by an error.
 *
 *     receive ─► WSARecvFrom ─► received
 *     transmit ─► WSASendTo ─► isSent         where the socket's buffer is full it waits in the system
 *
 * @see https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsasendto
 */
export class IocpDatagrams extends Datagrams implements Completion {
  slot = -1
  isUnref = false
  readonly localAddress: { family: 'IPv4' | 'IPv6'; address: string; port: number }
  /** What does not fit the system's buffer is dropped there. */
  readonly droppedCount = 0
  protected readonly isDual: boolean
  readonly #port: Port = port()
  readonly #socket: number
  /** Held until the system is done with them. */
  #memory: Buffer | undefined = undefined
  readonly #sender = Buffer.allocUnsafeSlow(senderBytes)
  readonly #sending = new Map<Send, Transmission>()

  /** @param socket bound, this one's own from now on */
  constructor(socket: number, localAddress: IocpDatagrams['localAddress'], isDual: boolean, caller: Asker) {
    super(caller)
    this.#socket = socket
    this.localAddress = localAddress
    this.isDual = isDual
  }

  protected receive(): void {
    this.#memory ??= Buffer.allocUnsafeSlow(largestBytes)
    const { native } = this.#port
    native.receiveFrom(this.#port.begin(this), this.readRank, this.#socket, this.#memory, this.#sender)
  }

  complete(result: number): void {
    if (result >= 0) this.#came(result)
    else if (result === ECANCELED) this.receiveCancelled()
    else if (lasting.has(result)) this.receiveFailed(socketError(result, 'receive'))
    else setTimeout(() => this.receiveCancelled(), pauseMs) // and again, if somebody waits
  }

  #came(lengthBytes: number): void {
    const { address, port } = addressFrom(
      this.#port.native.senderOf(this.#sender),
    ) as IocpDatagrams['localAddress']
    const from = unmapped(address)
    const bytes = this.#cut(lengthBytes)
    this.received({ bytes, address: from, port, family: from.includes(':') ? 'IPv6' : 'IPv4' })
  }

  /** The reader's own from now on. Much is handed over as it is, little is copied out. */
  #cut(lengthBytes: number): Buffer {
    const memory = this.#memory!
    if (lengthBytes > largestBytes / 2) {
      this.#memory = undefined
      return memory.subarray(0, lengthBytes)
    }
    const bytes = Buffer.allocUnsafe(lengthBytes)
    memory.copy(bytes, 0, 0, lengthBytes)
    return bytes
  }

  /** What comes all the same is for the next receive. */
  protected cancelReceive(): void {
    this.#port.cancel(this)
  }

  protected readRankChanged(): void {}

  protected transmit(send: Send, address: string): void {
    const { family } = this.localAddress
    const transmission = new Transmission(send, { family, address, port: send.port }, result => {
      this.#sending.delete(send)
      this.isSent(send, result)
    })
    this.#sending.set(send, transmission)
    transmission.begin(this.#socket)
  }

  protected cancelTransmit(send: Send, reason: unknown): void {
    this.#sending.get(send)?.cancel(reason)
  }

  async addMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    changeMembership(this.#socket, true, group, interfaceAddress)
  }

  async dropMembership(group: string, interfaceAddress: string | undefined): Promise<void> {
    changeMembership(this.#socket, false, group, interfaceAddress)
  }

  setRef(isRef: boolean): void {
    this.#port.setRef(this, isRef)
  }

  protected async closeSocket(): Promise<void> {
    this.#port.native.closeSocket(this.#socket)
  }

  handOver(one: Waiting<never>): void {
    this.#port.handOver(one)
  }

  delivered(): void {}
}

/** One datagram, while the system has it. */
class Transmission implements Completion {
  slot = -1
  readonly #send: Send
  readonly #to: SocketAddress
  readonly #done: (reason?: unknown) => void
  #abortedWith: { reason: unknown } | undefined = undefined

  constructor(send: Send, to: SocketAddress, done: (reason?: unknown) => void) {
    this.#send = send
    this.#to = to
    this.#done = done
  }

  begin(socket: number): void {
    const { native } = port()
    native.sendTo(port().begin(this), this.#send.rank, socket, this.#send.bytes, ...addressFor(this.#to))
  }

  cancel(reason: unknown): void {
    this.#abortedWith = { reason }
    port().cancel(this)
  }

  complete(result: number): void {
    if (result >= 0) this.#done()
    else if (this.#abortedWith !== undefined) this.#done(this.#abortedWith.reason)
    else this.#done(socketError(result, 'send', this.#to))
  }
}
