import { markAsUntransferable } from 'node:worker_threads'
import { fileTooLarge } from '@kiruna/priority/error'

/** What most files fit into: source code, configuration, mail. */
const landingBytes = 32 * 1024
/** What nearly all others fit into: to ask for the size first would cost them a turn of the event loop. */
const guessBytes = 256 * 1024
/** Kept for the files to come: as many as readMany reads at once. */
const landingsKept = 64
/** A smaller file's bytes share a block with others': memory of its own would cost more than reading it did. */
const smallBytes = 8 * 1024
const blockBytes = 60 * 1024

const landings: Buffer[] = []
let block = Buffer.alloc(0)
let blockUsedBytes = 0

/**
 * The content of a file while it is read. It ends where a read returns 0: a size says nothing of /proc, and may be out
 * of date.
 *
 *     landing, 32 KiB, used again by the next file   ─► a small file is copied out of it, just its bytes
 *     body, once the landing is full: 256 KiB,       ─► a large file is the body itself
 *     and as much as the file's size beyond that
 */
export class GrowingBuffer {
  /** Where the bytes are, and the next ones go: from `lengthBytes` on. */
  memory = landings.pop() ?? Buffer.allocUnsafeSlow(landingBytes)
  lengthBytes = 0
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #landing: Buffer | undefined = this.memory
  #isSizeKnown = false

  constructor(path: string | Buffer, maxBytes: number) {
    this.#path = path
    this.#maxBytes = maxBytes
  }

  /** The guess is full: now it is worth asking for the file's size. */
  get outgrown(): boolean {
    return !this.#isSizeKnown && this.memory !== this.#landing && this.lengthBytes === this.memory.length
  }

  /** Makes room for `sizeBytes` in all. @throws RangeError ERR_FS_FILE_TOO_LARGE */
  expect(sizeBytes: number): void {
    if (sizeBytes > this.#maxBytes) throw fileTooLarge(this.#path, this.#maxBytes)
    this.#isSizeKnown = true
    this.#grow(Math.max(sizeBytes, this.lengthBytes))
  }

  /**
   * Makes room for one byte at least, so that a read at the end returns 0 for no other reason.
   * @returns how many there is room for
   */
  makeRoom(): number {
    if (this.lengthBytes === this.memory.length) {
      this.#grow(this.memory === this.#landing ? guessBytes : this.lengthBytes * 1.5)
    }
    return this.memory.length - this.lengthBytes
  }

  /** So many bytes have come. @throws RangeError ERR_FS_FILE_TOO_LARGE */
  add(bytes: number): void {
    this.lengthBytes += bytes
    if (this.lengthBytes > this.#maxBytes) throw fileTooLarge(this.#path, this.#maxBytes)
  }

  /** The file's bytes; nobody else will have them. */
  take(): Buffer {
    const { memory, lengthBytes } = this
    if (memory !== this.#landing && lengthBytes > memory.length * 0.75) return memory.subarray(0, lengthBytes)
    const bytes = lengthBytes <= smallBytes ? cut(lengthBytes) : Buffer.allocUnsafeSlow(lengthBytes)
    memory.copy(bytes, 0, 0, lengthBytes)
    return bytes
  }

  /** When the OS no longer writes into it. */
  release(): void {
    if (this.#landing !== undefined && landings.length < landingsKept) landings.push(this.#landing)
    this.#landing = undefined
  }

  #grow(bytes: number): void {
    const slackBytes = 4096 // the read that finds the end needs room
    const body = Buffer.allocUnsafeSlow(Math.ceil(bytes) + slackBytes)
    this.memory.copy(body, 0, 0, this.lengthBytes)
    this.memory = body
  }
}

/** So many bytes of a block. Like Buffer's own pool it cannot be transferred: others have the rest of it. */
function cut(lengthBytes: number): Buffer {
  if (blockUsedBytes + lengthBytes > block.length) {
    block = Buffer.allocUnsafeSlow(blockBytes)
    markAsUntransferable(block.buffer)
    blockUsedBytes = 0
  }
  const bytes = block.subarray(blockUsedBytes, blockUsedBytes + lengthBytes)
  blockUsedBytes += (lengthBytes + 7) & ~7 // aligned, for those who see numbers in it
  return bytes
}
