import * as fs from 'node:fs'
import type { Caller } from '@kiruna/priority'
import { detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import type { InUse } from '@kiruna/priority/operation'
import { PoolOperation, withPath } from './pool.ts'

const EIO = errnoOf('EIO')

/** What the operations on one open file share. */
export interface OpenFile {
  readonly fd: number
  /** For errors; undefined for a borrowed fd. */
  readonly path: string | Buffer | undefined
  /** Opened with O_DIRECT. */
  readonly direct?: boolean
  /** Keeps the file open during operations; absent if nothing else can close it. */
  readonly inUse?: InUse
}

/** A buffer's transfer from a file or to it, piece by piece. */
export abstract class Transfer<T> extends PoolOperation<T> {
  protected readonly ownsBuffer = false
  protected readonly file: OpenFile
  protected readonly buffer: NodeJS.ArrayBufferView
  protected readonly position: number
  protected readonly lengthBytes: number
  protected doneBytes = 0

  /** @param position −1: at the current file offset */
  constructor(
    file: OpenFile,
    buffer: NodeJS.ArrayBufferView,
    position: number,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.file = file
    this.buffer = buffer
    this.position = position
    this.lengthBytes = buffer.byteLength
  }

  /** @throws EBADF: the file has been closed */
  run(syscall: string): this {
    const { inUse } = this.file
    if (inUse !== undefined) this.use(inUse, syscall)
    if (this.lengthBytes > 0 || this.asker.signal?.aborted) this.begin(this.nextBytes)
    else {
      this.finish()
      this.end()
    }
    return this
  }

  /** Nothing is left to transfer. */
  protected abstract finish(): void

  /** The bytes that the lane counts for the next piece. */
  protected get nextBytes(): number {
    return Math.min(this.lengthBytes - this.doneBytes, maxPieceBytes)
  }

  end(): void {
    this.file.inUse?.leave()
  }
}

/** Writes a buffer, at a position or at the current file offset. @see pwrite(2), write(2) */
export class Write extends Transfer<void> {
  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.buffer.byteLength !== this.lengthBytes) throw detached()
    const { fd, path } = this.file
    const done = this.doneBytes
    const askedBytes = Math.min(this.lengthBytes - done, this.maxBytes)
    const position = this.position === -1 ? null : this.position + done
    fs.write(fd, this.buffer, done, askedBytes, position, (error, bytes) => {
      this.leave()
      if (error !== null) {
        if (this.retry(error.errno!, () => this.enter(this.nextBytes))) return
        this.fail(withPath(error, path))
      } else {
        this.doneBytes += bytes
        if (this.doneBytes === this.lengthBytes) this.finish()
        // Another try could write nothing, for ever.
        else if (bytes === 0) this.fail(systemError(EIO, 'write', path))
        else if (this.aborted) this.fail(undefined)
        else return this.enter(this.nextBytes)
      }
      this.end()
    })
  }

  protected finish(): void {
    this.commit(undefined)
  }
}
