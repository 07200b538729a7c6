import { markAsUntransferable } from 'node:worker_threads'
import { fileTooLarge } from '@kiruna/priority/error'

/** Most files fit into this: source code, configuration, mail. */
const landingBytes = 32 * 1024
/** Nearly all others fit into this: to ask for their size first would cost a turn of the event loop. */
const guessBytes = 256 * 1024
/** Kept for the next files: as many as readMany reads at once. */
const landingsKept = 64
/** Files up to this size share a block: memory of their own would cost more than reading them. */
const smallBytes = 8 * 1024
const blockBytes = 60 * 1024

const landings: Buffer[] = []
let block = Buffer.alloc(0)
let blockUsedBytes = 0

/**
 * The content of a file while it is read. It ends where a read returns 0: a file's size may be out of date, and in
 * /proc it is 0. A large file ends at the size that it had when it was asked for: somebody may append to it for ever.
 *
 *     landing, 32 KiB, used again by the next file   ─► a small file's bytes are copied out of it
 *     body, once the landing is full: 256 KiB,       ─► a large file is the body itself
 *     then as large as the file says
 */
export class GrowingBuffer {
  /** Holds the bytes that have been read; the next ones go to `lengthBytes`. */
  memory = landings.pop() ?? Buffer.allocUnsafeSlow(landingBytes)
  lengthBytes = 0
  readonly #path: string | Buffer
  readonly #maxBytes: number
  #landing: Buffer | undefined = this.memory
  #isSizeKnown = false
  #endBytes = Number.POSITIVE_INFINITY

  constructor(path: string | Buffer, maxBytes: number) {
    this.#path = path
    this.#maxBytes = maxBytes
  }

  /** The first body is full: now it is worth asking for the file's size. */
  get outgrown(): boolean {
    return !this.#isSizeKnown && this.memory !== this.#landing && this.lengthBytes === this.memory.length
  }

  /**
   * Makes room for `sizeBytes` in all.
   * @param isFile a regular file, whose size is true unless it is 0
   * @throws RangeError ERR_FS_FILE_TOO_LARGE
   */
  expect(sizeBytes: number, isFile: boolean): void {
    if (sizeBytes > this.#maxBytes) throw fileTooLarge(this.#path, this.#maxBytes)
    this.#isSizeKnown = true
    if (isFile && sizeBytes > 0) this.#endBytes = sizeBytes
    this.#grow(Math.max(sizeBytes, this.lengthBytes))
  }

  /**
   * Makes room for at least one byte, so that a read returns 0 only at the end of the file.
   * @returns how many bytes there is room for
   */
  makeRoom(): number {
    if (this.lengthBytes === this.memory.length) {
      this.#grow(this.memory === this.#landing ? guessBytes : this.lengthBytes * 1.5)
    }
    return Math.min(this.memory.length, this.#endBytes) - this.lengthBytes
  }

  /** All that the file had has been read. */
  get isComplete(): boolean {
    return this.lengthBytes >= this.#endBytes
  }

  /** Counts the bytes of one more read. @throws RangeError ERR_FS_FILE_TOO_LARGE */
  add(bytes: number): void {
    this.lengthBytes += bytes
    if (this.lengthBytes > this.#maxBytes) throw fileTooLarge(this.#path, this.#maxBytes)
  }

  /** The file's bytes, in memory that nothing else writes to. */
  take(): Buffer {
    const { memory, lengthBytes } = this
    if (memory !== this.#landing && lengthBytes > memory.length * 0.75) return memory.subarray(0, lengthBytes)
    const bytes = lengthBytes <= smallBytes ? cut(lengthBytes) : Buffer.allocUnsafeSlow(lengthBytes)
    memory.copy(bytes, 0, 0, lengthBytes)
    return bytes
  }

  /** To be called when the OS no longer writes to it. */
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

/** A piece of the block. Like Buffer's pool the block cannot be transferred, since other files share it. */
function cut(lengthBytes: number): Buffer {
  if (blockUsedBytes + lengthBytes > block.length) {
    block = Buffer.allocUnsafeSlow(blockBytes)
    markAsUntransferable(block.buffer)
    blockUsedBytes = 0
  }
  const bytes = block.subarray(blockUsedBytes, blockUsedBytes + lengthBytes)
  blockUsedBytes += (lengthBytes + 7) & ~7 // aligned, for views of numbers
  return bytes
}
