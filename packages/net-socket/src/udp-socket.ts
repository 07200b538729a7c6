import type { Caller } from '@kiruna/priority'
import type { SocketAddress } from './address.ts'
import type { Datagrams } from './datagrams.ts'
import { checkMembership, type Datagram, type Destination, isNotRunning, notRunning } from './udp.ts'

/**
 * A bound UDP socket. It is connected to nobody: a datagram says where it goes, or where it has come from.
 * @see udp(7)
 */
export class UdpSocket implements AsyncIterable<Datagram>, AsyncDisposable {
  readonly #datagrams: Datagrams

  /** @internal */
  constructor(datagrams: Datagrams) {
    this.#datagrams = datagrams
  }

  /** Where it is bound: with the port that was free, if it was to be 0. */
  get localAddress(): SocketAddress & { family: 'IPv4' | 'IPv6' } {
    return this.#datagrams.localAddress
  }

  /** Datagrams that came when nobody had asked and what may wait was full. What the kernel drops it does not know. */
  get droppedCount(): number {
    return this.#datagrams.droppedCount
  }

  /**
   * On whose behalf it sends and receives where the call does not say: at first the priority of who bound it. What
   * waits follows.
   * @throws TypeError, as every function that takes a caller
   */
  get caller(): Caller {
    return this.#datagrams.asker
  }

  set caller(caller: Caller) {
    this.#datagrams.callerChanged(caller)
  }

  /**
   * Sends one datagram. A name is looked up each time.
   * @param bytes yours again when it resolves
   * @throws EMSGSIZE, ENETUNREACH, ENOTFOUND, EACCES: a broadcast address without `broadcast` … (`err.code`);
   *   ERR_SOCKET_DGRAM_NOT_RUNNING: closed; the signal's reason, if it aborted before the datagram had gone;
   *   TypeError, RangeError
   * @see sendmsg(2)
   */
  send(bytes: string | Uint8Array, to: Destination, caller?: Caller): Promise<void> {
    return this.#datagrams.enterSend(bytes, to, caller)
  }

  /**
   * The next datagram, whole. Of several receives that wait, the most urgent has it. An aborted one has taken none.
   * @throws ERR_SOCKET_DGRAM_NOT_RUNNING: closed, also while it waits; the signal's reason
   * @see recvmsg(2)
   */
  receive(caller?: Caller): Promise<Datagram> {
    return this.#datagrams.enterReceive(caller)
  }

  /** What comes, until the socket is closed. Leaving the loop does not close it. */
  [Symbol.asyncIterator](): AsyncIterator<Datagram, undefined, undefined> {
    return {
      next: async () => {
        try {
          return { done: false, value: await this.receive() }
        } catch (error) {
          if (this.#datagrams.isClosed && isNotRunning(error)) return { done: true, value: undefined }
          throw error
        }
      },
    }
  }

  /**
   * Receives what is sent to a group, too.
   * @param interfaceAddress the interface: its address, in IPv6 its scope ('::%eth0'); without it the system chooses
   * @throws EINVAL: no group's address; EADDRINUSE: it is a member already; ENODEV … (`err.code`)
   * @see ip(7) IP_ADD_MEMBERSHIP, ipv6(7) IPV6_ADD_MEMBERSHIP
   */
  async addMembership(group: string, interfaceAddress?: string): Promise<void> {
    this.#checkRunning()
    await this.#datagrams.addMembership(...checkMembership(group, interfaceAddress))
  }

  /** @throws EADDRNOTAVAIL: it is no member; EINVAL … (`err.code`) */
  async dropMembership(group: string, interfaceAddress?: string): Promise<void> {
    this.#checkRunning()
    await this.#datagrams.dropMembership(...checkMembership(group, interfaceAddress))
  }

  /** Receives that wait keep the process alive, as they do at first. */
  ref(): this {
    this.#datagrams.setRef(true)
    return this
  }

  /** Receives that wait do not keep the process alive. */
  unref(): this {
    this.#datagrams.setRef(false)
    return this
  }

  /** Closes: receives that wait reject, and what is being sent goes first. Idempotent; resolves when it is closed. */
  close(): Promise<void> {
    return this.#datagrams.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checkRunning(): void {
    if (this.#datagrams.isClosed) throw notRunning()
  }
}
