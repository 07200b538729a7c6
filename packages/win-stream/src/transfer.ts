import { type StreamKind, type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import type { Asker } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { bytesAt, PortOperation } from '@kiruna/win-iocp/operation'

const EIO = errnoOf('EIO')

/** What the reads of one stream share. */
export interface ReadState {
  readonly source: StreamSource<StreamKind>
  /** A file that we have opened; undefined: `source.fd` is borrowed, and read at its current offset. */
  readonly handle: number | undefined
  /** Where the next read of `handle` begins. */
  position: number
}

/**
 * One read of a stream. A file's goes through the lane; one that may have to wait does not. A read of a named pipe that
 * we have opened waits at the port, and if it is cancelled, it has taken nothing:
 *
 *     ReadFile, FILE_FLAG_OVERLAPPED ─► the port
 *
 * A borrowed descriptor cannot be put on the port. A thread of the system's pool polls it until there is something:
 *
 *     PeekNamedPipe, nothing ─► Sleep ─► PeekNamedPipe ─► ReadFile
 *
 * If a read is cancelled too late, the bytes that it took are given back: to the file, or to the next reader of the
 * pipe.
 */
export class StreamRead extends PortOperation<Buffer> implements InTurn {
  protected readonly ownsBuffer = true
  readonly #state: ReadState
  readonly #askedBytes: number
  #memory: Buffer | undefined = undefined

  constructor(
    state: ReadState,
    chunkBytes: number,
    asker: Asker,
    resolve: (bytes: Buffer) => void,
    reject: (reason: unknown) => void,
  ) {
    super(asker, resolve, reject)
    this.#state = state
    this.#askedBytes = Math.min(chunkBytes, state.source.isOnDisk ? this.maxBytes : waitingPieceBytes)
  }

  override enter(): void {
    this.#state.source.turns.enter(this)
  }

  takeTurn(): void {
    const { source } = this.#state
    const left = source.takeBack(this.#askedBytes)
    if (left !== undefined) {
      this.succeed(left)
      this.end()
    } else if (source.isOnDisk) super.enter(this.#askedBytes)
    else this.bypassLane()
  }

  start(): void {
    const { source, handle, position } = this.#state
    this.#memory ??= source.takeMemory(this.#askedBytes)
    const bytes = bytesAt(this.#memory, 0, this.#askedBytes)
    const { port, rank } = this
    if (handle === undefined) port.native.readFd(port.begin(this), rank, source.fd, bytes)
    else port.native.read(port.begin(this), rank, handle, bytes, position)
  }

  complete(result: number): void {
    this.leave()
    if (result >= 0) this.#took(result)
    else if (this.aborted) this.end()
    else if (!this.retry(result, () => this.takeTurn())) {
      this.fail(systemError(result, 'read', this.#state.source.path))
      this.end()
    }
  }

  #took(bytes: number): void {
    const { source, handle } = this.#state
    if (this.aborted && source.isOnDisk) {
      if (handle === undefined) this.port.native.seekBack(source.fd, bytes)
    } else {
      if (source.isOnDisk) this.#state.position += bytes
      const piece = source.cut(this.#memory!, bytes)
      this.#memory = undefined
      if (this.aborted) source.giveBack(piece)
      else this.succeed(piece)
    }
    this.end()
  }

  protected override stop(): void {
    if (this.#state.source.turns.has(this)) super.stop()
    else this.end()
  }

  end(): void {
    this.#state.source.turns.leave(this)
  }
}

/** What the writes of one stream share. */
export interface WriteState {
  /** Borrowed, and written at its current offset; undefined: `handle` is a file that we have opened. */
  readonly fd: number | undefined
  readonly handle: number
  readonly path: string | Buffer | undefined
  readonly isOnDisk: boolean
  /** Where the next write to `handle` begins. */
  position: number
}

/**
 * Writes all of the bytes to a stream. A file's write goes through the lane, a piece at a time; one that may have to
 * wait does not. It waits at the port for a named pipe that we have opened, on a thread of the system's pool for a
 * borrowed descriptor.
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
    else this.bypassLane()
  }

  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
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
    if (this.#doneBytes === this.#lengthBytes) this.commit(undefined)
    else if (this.aborted) this.fail(undefined)
    else if (result > 0) this.enter()
    else if (!this.retry(result, () => this.enter()))
      this.fail(systemError(result === 0 ? EIO : result, 'write', this.#state.path))
  }

  end(): void {}
}
