import { ring } from '@kiruna/linux-uring/ring'
import { mostBuffers } from '@kiruna/net-socket/writing-half'

// struct msghdr, struct iovec; both Linux's on 64 bits
const msghdrBytes = 56
const iovecBytes = 16

/** Serve one send after the other. */
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
  /** Held, so that what the iovecs point to stays. */
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
    let word = msghdrBytes / 4
    for (const buffer of buffers) {
      const address = ring().addressOf(buffer)
      words[word] = address
      words[word + 1] = address / 2 ** 32
      words[word + 2] = buffer.byteLength
      words[word + 3] = 0
      word += 4
      this.lengthBytes += buffer.byteLength
    }
  }
}
