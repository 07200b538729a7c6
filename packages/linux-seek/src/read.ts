import { RingOperation } from '@kiruna/linux-uring/operation'
import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'

/** What the operations on one open file share. */
export interface OpenFile {
  readonly fd: number
  readonly path: string | Buffer
  readonly direct: boolean
  readonly inUse: InUse
  /** Reads of `scanBytes` and more that the kernel has, below user-blocking. */
  scans: number
  /** The kernel may read beyond what it is asked for. */
  readsAhead: boolean
}

/** Who asks for so much at a time needs nobody to read ahead. */
export const scanBytes = 128 * 1024

/** Fills a buffer, piece by piece, up to the end of the file. @see pread(2) */
export class Read extends RingOperation<number> {
  protected readonly ownsBuffer = false
  readonly #file: OpenFile
  readonly #buffer: NodeJS.ArrayBufferView
  readonly #position: number
  readonly #lengthBytes: number
  #doneBytes = 0
  #askedBytes = 0
  #scans = false

  constructor(
    file: OpenFile,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    caller: Caller,
    resolve: (bytes: number) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#file = file
    this.#buffer = buffer
    this.#position = position
    this.#lengthBytes = buffer.byteLength
  }

  /** What the lane counts the next read as. */
  get nextBytes(): number {
    return Math.min(this.#lengthBytes - this.#doneBytes, maxPieceBytes)
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#buffer.byteLength !== this.#lengthBytes) throw detached()
    const done = this.#doneBytes
    this.#askedBytes = Math.min(this.#lengthBytes - done, this.maxBytes)
    const file = this.#file
    this.#scans = this.laneRank > 1 && this.#askedBytes >= scanBytes && !file.direct
    if (this.#scans) file.scans++
    // The kernel may read megabytes ahead, and nothing urgent could pass them on the way to the disk.
    if (file.readsAhead !== (file.scans === 0)) {
      file.readsAhead = !file.readsAhead
      this.ring.fadvise(file.fd, file.readsAhead)
    }
    const address = this.ring.addressOf(this.#buffer) + done
    this.ring.read(file.fd, address, this.#askedBytes, this.#position + done, this)
  }

  complete(result: number): void {
    this.leave()
    if (this.#scans) this.#file.scans--
    if (result < 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result, 'read', this.#file.path))
    } else {
      this.#doneBytes += result
      // After a short direct read the next would begin unaligned: it was the end.
      const ended =
        result === 0 ||
        this.#doneBytes === this.#lengthBytes ||
        (this.#file.direct && result < this.#askedBytes)
      if (ended || this.aborted) this.succeed(this.#doneBytes)
      else {
        this.enter(this.nextBytes)
        return
      }
    }
    this.end()
  }

  end(): void {
    this.#file.inUse.leave()
  }
}
