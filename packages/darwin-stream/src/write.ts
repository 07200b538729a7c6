import { ECANCELED, EINTR, EIO } from '@kiruna/darwin-dispatch/dispatch'
import { whose } from '@kiruna/darwin-dispatch/native'
import { DispatchOperation } from '@kiruna/darwin-dispatch/operation'
import { type Asker, rankOf } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'

/**
 * GCD does not learn of everything that ends a wait for room: swift-corelibs-libdispatch not that a pipe's last reader has
 * gone. So a write that waits is begun again after so long.
 */
const beginAgainMs = 250

/** Where a stream writes. */
export interface Sink {
  readonly fd: number
  /** undefined: the fd is borrowed. */
  readonly path: string | Buffer | undefined
  readonly isOnDisk: boolean
}

/**
 * Writes all of the bytes to a stream, a piece at a time. What is on a disk goes through the lane; what may have to wait
 * does not, and waits in its channel until there is room.
 */
export class StreamWrite extends DispatchOperation<void> {
  protected readonly ownsBuffer = false
  readonly #sink: Sink
  readonly #data: Uint8Array
  readonly #lengthBytes: number
  #doneBytes = 0
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    sink: Sink,
    data: Uint8Array,
    asker: Asker,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#sink = sink
    this.#data = data
    this.#lengthBytes = data.byteLength
  }

  override enter(): void {
    this.bytes = Math.min(this.#lengthBytes - this.#doneBytes, this.maxBytes)
    try {
      if (this.#sink.isOnDisk) super.enter(this.bytes)
      else this.start()
    } catch (error) {
      this.notStarted(error)
    }
  }

  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.#data.byteLength !== this.#lengthBytes) throw detached()
    const { fd, path, isOnDisk } = this.#sink
    const isBorrowed = path === undefined
    const owner = isBorrowed ? whose.borrowed : whose.ours
    const address = this.gcd.addressOf(this.#data) + this.#doneBytes
    const rank = rankOf(this.asker.priority)
    const id = this.gcd.begin(this)
    this.gcd.native.write(id, rank, fd, address, this.bytes, -1, owner, isBorrowed && !isOnDisk)
    if (!isOnDisk) this.#timer = setTimeout(() => this.stop(), beginAgainMs)
  }

  complete(result: number): void {
    clearTimeout(this.#timer)
    this.leave()
    if (result > 0) this.#doneBytes += result
    if (this.#doneBytes === this.#lengthBytes) {
      this.aborted = false // all of it is written: that has happened, whatever came meanwhile
      this.succeed()
    } else if (this.aborted) this.fail(undefined)
    else if (result > 0 || result === EINTR || result === ECANCELED) this.enter()
    else this.fail(systemError(result === 0 ? EIO : result, 'write', this.#sink.path))
  }

  override succeed(): void {
    super.succeed(undefined)
  }

  end(): void {}
}
