import { type StreamKind, type StreamSource, waitingPieceBytes } from '@kiruna/fs-stream/stream-source'
import type { InTurn } from '@kiruna/fs-stream/turns'
import type { Asker } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { bytesAt, PortOperation } from '@kiruna/win-iocp/operation'

/** What the reads of one stream know of it. */
export interface ReadState {
  readonly source: StreamSource<StreamKind>
  /** A file of our own; undefined: `source.fd` is borrowed, and read where it stands. */
  readonly handle: number | undefined
  readonly isOnDisk: boolean
  /** Where the next read of a file of our own begins. */
  position: number
}

/**
 * One read of a stream. What is on a disk goes through the lane; what may have to wait does not. A named pipe of our own
 * waits at the port, and a cancelled wait has taken nothing:
 *
 *     ReadFile, FILE_FLAG_OVERLAPPED ─► the port
 *
 * A borrowed descriptor cannot be put there. One of the system's threads looks at it until there is something:
 *
 *     PeekNamedPipe, nothing ─► Sleep ─► PeekNamedPipe ─► ReadFile
 *
 * What a read takes that is cancelled too late is given back: to the file, or to the next reader of the pipe.
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
    this.#askedBytes = Math.min(chunkBytes, state.isOnDisk ? this.maxBytes : waitingPieceBytes)
  }

  override enter(bytes: number): void {
    this.bytes = bytes
    this.#state.source.turns.enter(this)
  }

  takeTurn(): void {
    const { source, isOnDisk } = this.#state
    const left = source.takeBack(this.#askedBytes)
    if (left !== undefined) {
      this.succeed(left)
      this.end()
    } else if (isOnDisk) super.enter(this.#askedBytes)
    else this.#tryRead()
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
    const { source, handle, isOnDisk } = this.#state
    if (this.aborted && isOnDisk) {
      if (handle === undefined) this.port.native.seekBack(source.fd, bytes)
    } else {
      if (isOnDisk) this.#state.position += bytes
      const piece = source.cut(this.#memory!, bytes)
      this.#memory = undefined
      if (this.aborted) source.giveBack(piece)
      else this.succeed(piece)
    }
    this.end()
  }

  #tryRead(): void {
    try {
      this.start()
    } catch (error) {
      this.notStarted(error) // no memory
    }
  }

  protected override stop(): void {
    if (this.#state.source.turns.has(this)) super.stop()
    else this.end()
  }

  end(): void {
    this.#state.source.turns.leave(this)
  }
}
