import { waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { Asker } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { bytesAt, PortOperation } from '@kiruna/win-iocp/operation'

const EIO = errnoOf('EIO')

/** What the writes of one stream know of it. */
export interface WriteState {
  /** Borrowed, and written where it stands; undefined: `handle` is a file of our own. */
  readonly fd: number | undefined
  readonly handle: number
  readonly path: string | Buffer | undefined
  readonly isOnDisk: boolean
  /** Where the next write to a file of our own begins. */
  position: number
}

/**
 * Writes all of the bytes to a stream. What is on a disk goes through the lane, a piece at a time; what may have to wait
 * does not: a named pipe of our own waits at the port, a borrowed descriptor in one of the system's threads.
 */
export class StreamWrite extends PortOperation<void> {
  protected readonly ownsBuffer = false
  readonly #state: WriteState
  readonly #data: Uint8Array
  readonly #lengthBytes: number
  #doneBytes = 0
  #askedBytes = 0

  constructor(
    state: WriteState,
    data: Uint8Array,
    asker: Asker,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#state = state
    this.#data = data
    this.#lengthBytes = data.byteLength
  }

  override enter(): void {
    const { isOnDisk } = this.#state
    const mostBytes = isOnDisk ? this.maxBytes : waitingPieceBytes
    this.#askedBytes = Math.min(this.#lengthBytes - this.#doneBytes, mostBytes)
    if (isOnDisk) super.enter(this.#askedBytes)
    else this.#tryWrite()
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#data.byteLength !== this.#lengthBytes) throw detached()
    const { fd, handle, position } = this.#state
    const bytes = bytesAt(this.#data, this.#doneBytes, this.#askedBytes)
    const { port, rank } = this
    if (fd === undefined) port.native.write(port.begin(this), rank, handle, bytes, position)
    else port.native.writeFd(port.begin(this), rank, fd, bytes)
  }

  complete(result: number): void {
    this.leave()
    if (result > 0) {
      this.#doneBytes += result
      if (this.#state.isOnDisk) this.#state.position += result
    }
    if (this.#doneBytes === this.#lengthBytes) {
      this.aborted = false // all of it is written: that has happened, whatever came meanwhile
      this.succeed()
    } else if (this.aborted) this.fail(undefined)
    else if (result > 0) this.enter()
    else if (!this.retry(result, () => this.enter()))
      this.fail(systemError(result === 0 ? EIO : result, 'write', this.#state.path))
  }

  #tryWrite(): void {
    try {
      this.start()
    } catch (error) {
      this.notStarted(error)
    }
  }

  override succeed(): void {
    super.succeed(undefined)
  }

  end(): void {}
}
