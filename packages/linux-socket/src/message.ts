import { ring } from '@kiruna/linux-uring/ring'
import type { SocketAddress } from '@kiruna/net-socket/address'
import { parseSockaddr, sockaddrOf } from './sockaddr.ts'

// struct msghdr, struct iovec; both Linux's on 64 bits
const msghdrBytes = 56
const iovecBytes = 16
/** sizeof(struct sockaddr_in6): the longest of the two families */
const nameBytes = 28

/**
 * A datagram as the kernel takes and gives it: a struct msghdr, what it points to, and the bytes.
 *
 *     [ msghdr: name ──► iov ──► ] [ iovec: address, length ] [ sockaddr ]
 *
 * It is to be held until the kernel is done with it.
 * @see sendmsg(2), recvmsg(2)
 */
export class Message {
  readonly address: number
  readonly #memory = Buffer.alloc(msghdrBytes + iovecBytes + nameBytes)
  readonly #words = new Uint32Array(this.#memory.buffer, this.#memory.byteOffset, this.#memory.length / 4)
  /** Held for the kernel. */
  bytes: Uint8Array | undefined = undefined
  /** Whose address was read last: most datagrams come from where the last one came from. */
  #lastName = Buffer.alloc(0)
  #lastAddress: SocketAddress | undefined = undefined

  constructor() {
    this.address = ring().addressOf(this.#memory)
    const words = this.#words
    const [iovec, name] = [this.address + msghdrBytes, this.address + msghdrBytes + iovecBytes]
    words[0] = name
    words[1] = name / 2 ** 32
    words[4] = iovec
    words[5] = iovec / 2 ** 32
    words[6] = 1
  }

  /** For recvmsg: the memory that it fills. */
  receiveInto(bytes: Uint8Array): void {
    this.#words[2] = nameBytes
    this.#point(bytes)
  }

  /** For sendmsg: the bytes, and to whom. */
  sendTo(to: SocketAddress, bytes: Uint8Array): void {
    const name = sockaddrOf(to)
    name.copy(this.#memory, msghdrBytes + iovecBytes)
    this.#words[2] = name.length
    this.#point(bytes)
  }

  /** Who has sent what recvmsg has received. */
  get sender(): SocketAddress | undefined {
    const start = msghdrBytes + iovecBytes
    const name = this.#memory.subarray(start, start + Math.min(this.#words[2]!, nameBytes))
    if (!name.equals(this.#lastName)) {
      this.#lastName = Buffer.from(name)
      this.#lastAddress = parseSockaddr(name)
    }
    return this.#lastAddress
  }

  #point(bytes: Uint8Array): void {
    this.bytes = bytes
    const address = ring().addressOf(bytes)
    const words = this.#words
    const iovec = msghdrBytes / 4
    words[iovec] = address
    words[iovec + 1] = address / 2 ** 32
    words[iovec + 2] = bytes.byteLength
    words[iovec + 3] = 0
  }
}
