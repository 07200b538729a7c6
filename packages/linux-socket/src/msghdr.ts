import { ring } from '@kiruna/linux-uring/ring'
import type { InternetAddress } from '@kiruna/net-socket/address'
import { mostBuffers } from '@kiruna/net-socket/writing-half'
import { parseSockaddr, sockaddrOf } from './sockaddr.ts'

// struct msghdr and struct iovec on 64-bit Linux
const msghdrBytes = 56
const iovecBytes = 16
const iovecWord = msghdrBytes / 4
/** sizeof(struct sockaddr_in6): the longest of the two families */
const nameBytes = 28

/** Kept for the next sends. */
const idle: Gather[] = []
const mostIdle = 16

/**
 * What a sendmsg sends: a struct msghdr and its iovecs, as the kernel reads them.
 *
 *     [ msghdr: … iov ──► ] [ address, length ] [ address, length ] …
 *
 * @see sendmsg(2), readv(2)
 */
export class Gather {
  lengthBytes = 0
  readonly address: number
  readonly #memory = Buffer.alloc(msghdrBytes + mostBuffers * iovecBytes)
  readonly #words = new Uint32Array(this.#memory.buffer, this.#memory.byteOffset, this.#memory.length / 4)
  /** Holds what the iovecs point to. */
  buffers: Uint8Array[] = []

  private constructor() {
    this.address = ring().addressOf(this.#memory)
    const words = this.#words
    words[4] = this.address + msghdrBytes
    words[5] = (this.address + msghdrBytes) / 2 ** 32
  }

  /** @param buffers at most `mostBuffers` */
  static of(buffers: Uint8Array[]): Gather {
    const gather = idle.pop() ?? new Gather()
    gather.#fill(buffers)
    return gather
  }

  /** The kernel is done with it. */
  release(): void {
    this.buffers = []
    if (idle.length < mostIdle) idle.push(this)
  }

  #fill(buffers: Uint8Array[]): void {
    const words = this.#words
    words[6] = buffers.length
    this.lengthBytes = 0
    this.buffers = buffers
    let word = iovecWord
    for (const buffer of buffers) {
      pointTo(words, word, buffer)
      word += iovecBytes / 4
      this.lengthBytes += buffer.byteLength
    }
  }
}

/**
 * A datagram in the kernel's form: a struct msghdr, what it points to, and the bytes.
 *
 *     [ msghdr: name ──► iov ──► ] [ iovec: address, length ] [ sockaddr ]
 *
 * Hold it until the kernel is done with it.
 * @see sendmsg(2), recvmsg(2)
 */
export class Message {
  readonly address: number
  readonly #memory = Buffer.alloc(msghdrBytes + iovecBytes + nameBytes)
  readonly #words = new Uint32Array(this.#memory.buffer, this.#memory.byteOffset, this.#memory.length / 4)
  readonly #name = this.#memory.subarray(msghdrBytes + iovecBytes)
  /** Held for the kernel. */
  bytes: Uint8Array | undefined = undefined
  /** The last sender, parsed once: most datagrams come from the same one. */
  #lastName = Buffer.alloc(0)
  #lastAddress: InternetAddress | undefined = undefined

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

  /** Sets the memory that recvmsg fills. */
  receiveInto(bytes: Uint8Array): void {
    this.#words[2] = nameBytes
    this.bytes = bytes
    pointTo(this.#words, iovecWord, bytes)
  }

  /** Sets what sendmsg sends, and where. */
  sendTo(to: InternetAddress, bytes: Uint8Array): void {
    const sockaddr = sockaddrOf(to)
    this.#name.set(sockaddr)
    this.#words[2] = sockaddr.length
    this.bytes = bytes
    pointTo(this.#words, iovecWord, bytes)
  }

  /** The sender of the datagram that recvmsg has received. */
  get sender(): InternetAddress {
    const name = this.#name.subarray(0, Math.min(this.#words[2]!, nameBytes))
    if (this.#lastAddress === undefined || !name.equals(this.#lastName)) {
      this.#lastName = Buffer.from(name)
      this.#lastAddress = parseSockaddr(name) as InternetAddress
    }
    return this.#lastAddress
  }
}

/** Fills a struct iovec. */
function pointTo(words: Uint32Array, word: number, bytes: Uint8Array): void {
  const address = ring().addressOf(bytes)
  words[word] = address
  words[word + 1] = address / 2 ** 32
  words[word + 2] = bytes.byteLength
  words[word + 3] = 0
}
