import { isIP, isIPv4 } from 'node:net'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { coded, errnoOf } from '@kiruna/priority/error'
import { setTimeout } from '@kiruna/priority/timers'
import { addressesOf, type InternetAddress, internetAddress } from './address.ts'
import { checkBytes, checkDestination, checkString, type Destination } from './arguments.ts'
import { Reads } from './reading-half.ts'
import { socketError } from './socket-error.ts'
import { familyOf } from './udp-options.ts'
import { Waiting } from './waiting.ts'

export interface Datagram {
  bytes: Buffer
  /** The sender's. An IPv4 address is written as one, even if the socket is for both families. */
  address: string
  port: number
  family: 'IPv4' | 'IPv6'
}

/** Errors that last. Others are for want of memory or about an earlier datagram: the next one is received. */
const lasting = new Set(['EBADF', 'ENOTSOCK', 'EINVAL', 'EFAULT'].map(errnoOf))
const pauseMs = 1
const EINVAL = errnoOf('EINVAL')

/** A datagram to be sent. It goes to the kernel at once: only the kernel's buffer is in front of it. */
export class Send extends Waiting<void> {
  bytes: Uint8Array = nothing
  lengthBytes = 0
  port = 0
  /** Where it goes; undefined while the name is being looked up. */
  to: InternetAddress | undefined = undefined
  /** Asks the OS to cancel it; `sendCompleted` follows in any case. */
  cancel: (() => void) | undefined = undefined
  abortedWith: { reason: unknown } | undefined = undefined
}

/**
 * A bound UDP socket. It is not connected: each datagram says where it goes, or where it has come from.
 *
 * An implementation adds the system calls: `startReceive` and `cancelReceive`, see Reads, and those below.
 * @see udp(7)
 */
export abstract class UdpSocket extends Reads<Datagram> implements AsyncIterable<Datagram>, AsyncDisposable {
  /** Where it is bound, with the free port that the system chose if 0 was given. */
  readonly localAddress: InternetAddress
  /** It sends and receives with both families. */
  readonly #isDual: boolean
  readonly #sends = new Set<Send>()
  #closing: Promise<void> | undefined = undefined
  #onIdle: (() => void) | undefined = undefined

  /** @param caller who bound it */
  constructor(localAddress: InternetAddress, isDual: boolean, caller: Asker) {
    super(caller)
    this.localAddress = localAddress
    this.#isDual = isDual
  }

  /** Sends it to `send.to`, an address of this socket's family. `sendCompleted` follows. @see sendmsg(2) */
  protected abstract transmit(send: Send): void
  /** @see ip(7) IP_ADD_MEMBERSHIP, ipv6(7) IPV6_ADD_MEMBERSHIP */
  protected abstract changeMembership(
    isJoining: boolean,
    family: 'IPv4' | 'IPv6',
    group: string,
    interfaceAddress: string | undefined,
  ): void
  protected abstract setRef(isRef: boolean): void
  /** @see close(2) */
  protected abstract closeSocket(): Promise<unknown>

  /** How many datagrams were dropped here since too many waited for a reader; not those that the kernel drops. */
  get droppedCount(): number {
    return 0
  }

  /**
   * Sends one datagram. A name is looked up each time.
   * @param bytes not to be changed before it resolves
   * @throws EMSGSIZE, ENETUNREACH, ENOTFOUND, EACCES: a broadcast address without `broadcast` … (`err.code`);
   *   ERR_SOCKET_DGRAM_NOT_RUNNING: closed; the signal's reason, if it aborted before the datagram was sent;
   *   TypeError, RangeError
   * @see sendmsg(2)
   */
  send(bytes: string | Uint8Array, to: Destination, caller?: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      const asker = caller === undefined ? undefined : askerOf(caller)
      const memory = checkBytes(bytes)
      const { port, host } = checkDestination(to)
      if (this.#closing !== undefined) throw notRunning()
      const send = new Send(this, asker, resolve, reject)
      if (!send.begin()) return
      send.bytes = memory
      send.lengthBytes = memory.length
      send.port = port
      this.#sends.add(send)
      const isIPv4 = this.localAddress.family === 'IPv4' || this.#isDual
      if (host === undefined) this.#transmit(send, isIPv4 ? '127.0.0.1' : '::1')
      else if (isIP(host) !== 0) this.#transmit(send, host)
      else this.#lookUp(send, host)
    })
  }

  /**
   * The next datagram, whole. If several receives wait, the most urgent gets it. An aborted one has taken none.
   * @throws ERR_SOCKET_DGRAM_NOT_RUNNING: closed, also while it waits; the signal's reason
   * @see recvmsg(2)
   */
  receive(caller?: Caller): Promise<Datagram> {
    return this.enterRead(caller) as Promise<Datagram> // there is no end
  }

  /** All datagrams, until the socket is closed. Leaving the loop does not close it. */
  [Symbol.asyncIterator](): AsyncIterator<Datagram, undefined, undefined> {
    return {
      next: async () => {
        try {
          return { done: false, value: await this.receive() }
        } catch (error) {
          const { code } = (error ?? {}) as NodeJS.ErrnoException
          if (this.#closing !== undefined && code === notRunningCode) return { done: true, value: undefined }
          throw error
        }
      },
    }
  }

  /**
   * Joins a multicast group: datagrams that are sent to the group are received too.
   * @param interfaceAddress the interface's address, in IPv6 its scope ('::%eth0'); without it the system chooses
   * @throws EINVAL: not a group's address; EADDRINUSE: it is a member already; ENODEV … (`err.code`)
   * @see ip(7) IP_ADD_MEMBERSHIP, ipv6(7) IPV6_ADD_MEMBERSHIP
   */
  async addMembership(group: string, interfaceAddress?: string): Promise<void> {
    this.#changeMembership(true, group, interfaceAddress)
  }

  /** Leaves a multicast group. @throws EADDRNOTAVAIL: it is not a member; EINVAL … (`err.code`) */
  async dropMembership(group: string, interfaceAddress?: string): Promise<void> {
    this.#changeMembership(false, group, interfaceAddress)
  }

  /** Receives that wait keep the process alive. This is the default. */
  ref(): this {
    this.setRef(true)
    return this
  }

  /** Receives that wait do not keep the process alive. */
  unref(): this {
    this.setRef(false)
    return this
  }

  /** Closes the socket: receives that wait reject, and sends under way complete first. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal */
  abort(one: Waiting<never>, reason: unknown): void {
    if (this.abortRead(one, reason)) return
    const send = one as unknown as Send
    if (send.to === undefined) {
      send.fail(reason)
      return
    }
    send.abortedWith = { reason }
    send.cancel?.()
  }

  protected override callerChanged(): void {
    super.callerChanged()
    for (const send of [...this.#sends]) send.callerChanged()
  }

  /** A close waits for the receive that has just ended. */
  protected idle(): void {
    if (!this.isReceiving && this.#sends.size === 0) this.#onIdle?.()
  }

  /** @param errno the receive's */
  protected receiveErred(errno: number): void {
    if (lasting.has(errno)) this.receiveFailed(socketError(errno, 'receive'))
    else setTimeout(() => this.receiveCancelled(), pauseMs) // the next reader receives again
  }

  /** @internal @param result as sendmsg(2) returns it */
  sendCompleted(send: Send, result: number): void {
    if (result >= 0) this.sent(send)
    else if (send.abortedWith !== undefined) this.sent(send, send.abortedWith.reason)
    else this.sent(send, socketError(result, 'send', send.to))
  }

  /** @param reason undefined: it has been sent */
  protected sent(send: Send, reason?: unknown): void {
    this.#sends.delete(send)
    if (reason === undefined) send.succeed()
    else send.fail(reason)
    this.idle()
  }

  #lookUp(send: Send, host: string): void {
    const family = this.#isDual ? 0 : this.localAddress.family === 'IPv4' ? 4 : 6
    addressesOf(host, send.port, send.asker, family).then(
      ([first]) => (send.hasOutcome ? this.sent(send) : this.#transmit(send, first!.address)),
      error => this.sent(send, error),
    )
  }

  /** A socket of both families takes an IPv4 address in its IPv6 form. The other family is EINVAL, as in node:dgram. */
  #transmit(send: Send, host: string): void {
    const { family } = this.localAddress
    const isMapped = family === 'IPv6' && this.#isDual && isIPv4(host)
    const to = { family, address: isMapped ? `::ffff:${host}` : host, port: send.port }
    if (!isMapped && isIPv4(host) !== (family === 'IPv4')) {
      this.sent(send, socketError(EINVAL, 'send', internetAddress(host, send.port)))
      return
    }
    try {
      this.checkWhole(send)
      send.to = to
      this.transmit(send)
    } catch (error) {
      this.sent(send, error)
    }
  }

  /** @throws ERR_INVALID_STATE: its bytes have been transferred since the call */
  protected checkWhole({ bytes, lengthBytes }: Send): void {
    if (bytes.length !== lengthBytes) throw detached()
  }

  #changeMembership(isJoining: boolean, group: string, interfaceAddress: string | undefined): void {
    if (this.#closing !== undefined) throw notRunning()
    checkString(group, 'group')
    if (interfaceAddress !== undefined) checkString(interfaceAddress, 'interfaceAddress')
    const syscall = isJoining ? 'addMembership' : 'dropMembership'
    const family = familyOf(group, syscall)
    if (interfaceAddress !== undefined) familyOf(interfaceAddress, syscall, family)
    this.changeMembership(isJoining, family, group, interfaceAddress)
  }

  async #close(): Promise<void> {
    const isReceiving = this.isReceiving
    this.readsEnd({ reason: notRunning() })
    if (isReceiving) this.cancelReceive(true)
    if (this.isReceiving || this.#sends.size > 0) await new Promise<void>(resolve => (this.#onIdle = resolve))
    await this.closeSocket()
  }
}

/** @param address the sender's; from a socket of both families an IPv4 address in its IPv6 form */
export function datagramFrom(address: string, port: number, bytes: Buffer): Datagram {
  const inner = address.startsWith('::ffff:') ? address.slice(7) : ''
  return { bytes, ...internetAddress(isIPv4(inner) ? inner : address, port) }
}

const nothing = new Uint8Array(0)
const notRunningCode = 'ERR_SOCKET_DGRAM_NOT_RUNNING'

/** The error of a closed dgram.Socket. */
function notRunning(): Error {
  return coded(Error, notRunningCode, 'Not running')
}
