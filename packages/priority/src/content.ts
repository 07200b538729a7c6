import { fileTooLarge } from './error.ts'

/** What most files fit into: source code, configuration, mail. */
const landingBytes = 32 * 1024
/** What nearly all others fit into: to ask for the size first would cost them a turn of the event loop. */
const guessBytes = 256 * 1024
/** Kept for the files to come. */
const landingsKept = 32
/** fs.readFile's own limit. */
export const largestFileBytes = 2 ** 31 - 1

const landings: Buffer[] = []

/**
 * The content of a file while it is read. It ends where a read returns 0: a size says nothing of /proc, and may be out
 * of date.
 *
 *     landing, 32 KiB, used again by the next file   ─► a small file is copied out of it, just its bytes
 *     body, once the landing is full: 256 KiB,       ─► a large file is the body itself
 *     and as much as the file's size beyond that
 */
export class Content {
  lengthBytes = 0
  readonly #path: string | Buffer
  readonly #maxBytes: number
  readonly #landing = landings.pop() ?? Buffer.allocUnsafeSlow(landingBytes)
  #body: Buffer | undefined = undefined
  #isSizeKnown = false

  constructor(path: string | Buffer, maxBytes: number) {
    this.#path = path
    this.#maxBytes = maxBytes
  }

  /** The guess is full: now it is worth asking for the file's size. */
  get outgrown(): boolean {
    return !this.#isSizeKnown && this.lengthBytes === this.#body?.length
  }

  /** Makes room for `sizeBytes` in all. @throws RangeError ERR_FS_FILE_TOO_LARGE */
  expect(sizeBytes: number): void {
    if (sizeBytes > this.#maxBytes) throw fileTooLarge(this.#path, this.#maxBytes)
    this.#isSizeKnown = true
    this.#grow(Math.max(sizeBytes, this.lengthBytes))
  }

  /** Where the next bytes go: one byte at least, so that a read at the end returns 0 for no other reason. */
  room(): Buffer {
    const body = this.#body
    if (body === undefined && this.lengthBytes < landingBytes) return this.#landing.subarray(this.lengthBytes)
    if (body === undefined) this.#grow(guessBytes)
    else if (this.lengthBytes === body.length) this.#grow(this.lengthBytes * 1.5)
    return this.#body!.subarray(this.lengthBytes)
  }

  /** So many bytes have come into `room`. @throws RangeError ERR_FS_FILE_TOO_LARGE */
  add(bytes: number): void {
    this.lengthBytes += bytes
    if (this.lengthBytes > this.#maxBytes) throw fileTooLarge(this.#path, this.#maxBytes)
  }

  /** The file's bytes; nobody else will have this memory. */
  take(): Buffer {
    const body = this.#body
    if (body !== undefined && this.lengthBytes > body.length * 0.75) return body.subarray(0, this.lengthBytes)
    const bytes = Buffer.allocUnsafe(this.lengthBytes)
    ;(body ?? this.#landing).copy(bytes, 0, 0, this.lengthBytes)
    return bytes
  }

  /** When the OS no longer writes into it. */
  release(): void {
    if (landings.length < landingsKept) landings.push(this.#landing)
  }

  #grow(bytes: number): void {
    const slackBytes = 4096 // the read that finds the end needs room
    const body = Buffer.allocUnsafeSlow(Math.ceil(bytes) + slackBytes)
    ;(this.#body ?? this.#landing).copy(body, 0, 0, this.lengthBytes)
    this.#body = body
  }
}
