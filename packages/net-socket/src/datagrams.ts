import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import { type Asker, askerOf, type Caller, priorities, rankOf } from '@kiruna/priority'
import { Reads } from './reading-half.ts'
import {
  checkDatagram,
  checkDestination,
  type Datagram,
  type Destination,
  mapped,
  notRunning,
} from './udp.ts'
import { type Owner, Waiting } from './waiting.ts'

/** A datagram on its way out. It goes at once: nothing is in front of it but the kernel's own buffer. */
export class Send extends Waiting<void> {
  readonly bytes: Uint8Array
  readonly port: number
  /** The OS has it. */
  isTaken = false

  constructor(
    owner: Owner,
    bytes: Uint8Array,
    port: number,
    asker: Asker | undefined,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(owner, asker, resolve, reject)
    this.bytes = bytes
    this.port = port
  }
}

/**
 * What a UdpSocket is made of: who waits for a datagram, and what is being sent. An implementation adds the system
 * calls: `receive` and `cancelReceive`, as Reads says, and those below.
 */
export abstract class Datagrams extends Reads<Datagram> {
  asker: Asker
  abstract readonly localAddress: { family: 'IPv4' | 'IPv6'; address: string; port: number }
  abstract readonly droppedCount: number
  /** It is for both families. */
  protected abstract readonly isDual: boolean
  readonly #sends = new Set<Send>()
  #closing: Promise<void> | undefined = undefined
  #onIdle: (() => void) | undefined = undefined

  /** @param caller who bound it: it starts at that priority, and lives on when that caller has ended */
  constructor(caller: Asker) {
    super()
    this.asker = askerOf(priorities[rankOf(caller.priority)]!)
  }

  /** Sends it to an address of this socket's family. `isSent` follows. @see sendmsg(2) */
  protected abstract transmit(send: Send, address: string): void
  /** Nobody waits for it any more. `isSent` follows, with the reason unless it was too late. */
  protected abstract cancelTransmit(send: Send, reason: unknown): void
  /** @see close(2) */
  protected abstract closeSocket(): Promise<void>
  abstract setRef(isRef: boolean): void
  /** @see ip(7) IP_ADD_MEMBERSHIP, ipv6(7) IPV6_ADD_MEMBERSHIP */
  abstract addMembership(group: string, interfaceAddress: string | undefined): Promise<void>
  abstract dropMembership(group: string, interfaceAddress: string | undefined): Promise<void>

  get isClosed(): boolean {
    return this.#closing !== undefined
  }

  callerChanged(caller: Caller): void {
    this.asker = askerOf(caller)
    this.readsCallerChanged()
    for (const send of [...this.#sends]) send.callerChanged()
  }

  enterReceive(caller: Caller | undefined): Promise<Datagram> {
    return this.enterRead(caller) as Promise<Datagram> // there is no end
  }

  enterSend(bytes: string | Uint8Array, to: Destination, caller: Caller | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const asker = caller === undefined ? undefined : askerOf(caller)
      const memory = checkDatagram(bytes)
      const { port, host } = checkDestination(to)
      if (this.isClosed) throw notRunning()
      const send = new Send(this, memory, port, asker, resolve, reject)
      if (!send.begin()) return
      this.#sends.add(send)
      const { family } = this.localAddress
      if (host === undefined) this.#transmit(send, family === 'IPv4' || this.isDual ? '127.0.0.1' : '::1')
      else if (isIP(host) !== 0) this.#transmit(send, host)
      else this.#lookUp(send, host)
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  abort(one: Waiting<never>, reason: unknown): void {
    if (this.abortRead(one, reason)) return
    const send = one as unknown as Send
    if (send.isTaken) this.cancelTransmit(send, reason)
    else send.fail(reason)
  }

  /** A receive has ended for which nobody waits: closing waits for it. */
  protected idle(): void {
    if (!this.isReceiving && this.#sends.size === 0) this.#onIdle?.()
  }

  /** @param reason undefined: it is on its way */
  protected isSent(send: Send, reason?: unknown): void {
    this.#sends.delete(send)
    if (reason === undefined) send.succeed()
    else send.fail(reason)
    this.idle()
  }

  #lookUp(send: Send, host: string): void {
    const family = this.isDual ? 0 : this.localAddress.family === 'IPv4' ? 4 : 6
    lookup(host, { family }, (error, address) => {
      if (error !== null) this.isSent(send, error)
      else if (send.isDecided) this.isSent(send)
      else this.#transmit(send, address)
    })
  }

  #transmit(send: Send, address: string): void {
    send.isTaken = true
    this.transmit(send, this.localAddress.family === 'IPv6' ? mapped(address) : address)
  }

  async #close(): Promise<void> {
    const isReceiving = this.isReceiving
    this.readsEnd({ reason: notRunning() })
    if (isReceiving) this.cancelReceive(true)
    if (this.isReceiving || this.#sends.size > 0) await new Promise<void>(resolve => (this.#onIdle = resolve))
    await this.closeSocket()
  }
}
