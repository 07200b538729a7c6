import type { Stats } from 'node:fs'
import { EIO } from '@kiruna/darwin-dispatch/dispatch'
import { fdOwner } from '@kiruna/darwin-dispatch/native'
import { Call, DispatchOperation, nothing, type OpenFile } from '@kiruna/darwin-dispatch/operation'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import type { File as SeekFile } from '@kiruna/fs-seek'
import { notAllocated } from '@kiruna/fs-seek/allocate'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { promised } from '@kiruna/priority/operation'

/** An open file. `@kiruna/fs-seek` says what its functions promise. */
export class File implements SeekFile {
  readonly #file: OpenFile

  /** @internal */
  constructor(file: OpenFile) {
    this.#file = file
  }

  /** The file descriptor. GCD guards it: close the file, not the descriptor. */
  get fd(): number {
    return this.#file.fd
  }

  /** Fills `buffer` from `position` on. @see pread(2), dispatch_io_read(3): from 2 MiB on */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Read(this.#file, buffer, position, caller, resolve, reject).run('read')
    })
  }

  /** Writes all of `buffer` at `position`. @see dispatch_io_write(3) */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Write(this.#file, buffer, position, caller, resolve, reject).run('write')
    })
  }

  /** The file in order, read ahead. */
  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void> {
    return chunks((buffer, position, asker) => this.read(buffer, position, asker), caller, options)
  }

  /** @see fstat(2) */
  stat(caller: Caller): Promise<Stats> {
    return promised((resolve, reject) =>
      new Call(
        { syscall: 'fstat', file: this.#file },
        (native, id, rank) => native.fstat(id, rank, this.fd),
        statsOf,
        caller,
        resolve,
        reject,
      ).run(),
    )
  }

  /** Brings what has been written to the disk, and out of the disk's own cache. @see fcntl(2): F_FULLFSYNC */
  sync(caller: Caller): Promise<void> {
    return promised((resolve, reject) =>
      new Call(
        { syscall: 'fsync', file: this.#file, changes: true },
        (native, id, rank) => native.fsync(id, rank, this.fd, true),
        nothing,
        caller,
        resolve,
        reject,
      ).run(),
    )
  }

  /** Makes the file `lengthBytes` long. @see ftruncate(2) */
  truncate(lengthBytes: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkInteger(lengthBytes, 'lengthBytes')
      return new Call(
        { syscall: 'ftruncate', file: this.#file, changes: true },
        (native, id, rank) => native.ftruncate(id, rank, this.fd, lengthBytes),
        nothing,
        caller,
        resolve,
        reject,
      ).run()
    })
  }

  /** ENOTSUP: F_PREALLOCATE does not make a file longer, and the call that does could shorten it. @see fcntl(2) */
  allocate(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void> {
    return notAllocated(this.#file.path, offsetBytes, lengthBytes, caller)
  }

  /** Refuses new operations at once, waits for those under way, and closes. @see close(2) */
  close(): Promise<void> {
    return this.#file.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** A buffer's transfer from a file or to it, piece by piece. */
abstract class Transfer<T> extends DispatchOperation<T> {
  protected readonly ownsBuffer = false
  protected readonly file: OpenFile
  protected readonly position: number
  protected readonly lengthBytes: number
  protected doneBytes = 0
  readonly #buffer: NodeJS.ArrayBufferView

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
    this.#buffer = buffer
    this.position = position
    this.lengthBytes = buffer.byteLength
  }

  /** @throws EBADF: the file is closed */
  run(syscall: string): this {
    this.use(this.file, syscall)
    if (this.lengthBytes > 0 || this.asker.signal?.aborted) return this.begin(this.nextBytes)
    this.finish()
    this.end()
    return this
  }

  /** Nothing is left to transfer. */
  protected abstract finish(): void

  /** The bytes that the lane counts for the next piece. */
  protected get nextBytes(): number {
    return Math.min(this.lengthBytes - this.doneBytes, maxPieceBytes)
  }

  /** The address of the next piece. */
  protected get address(): number {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.#buffer.byteLength !== this.lengthBytes) throw detached()
    return this.gcd.addressOf(this.#buffer) + this.doneBytes
  }

  end(): void {
    this.file.leave()
  }
}

/** Fills a buffer, up to the end of the file. @see pread(2), dispatch_io_read(3) */
class Read extends Transfer<number> {
  #askedBytes = 0

  start(): void {
    const { gcd, address, rank, file } = this
    const bytes = (this.#askedBytes = Math.min(this.lengthBytes - this.doneBytes, this.maxBytes))
    const position = this.position + this.doneBytes
    gcd.native.read(gcd.begin(this), rank, file.fd, address, bytes, position, fdOwner.ours, false)
  }

  complete(result: number): void {
    this.leave()
    if (result < 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result, 'read', this.file.path))
    } else {
      this.doneBytes += result
      const isWhole = this.doneBytes === this.lengthBytes || result < this.#askedBytes
      if (!isWhole && !this.aborted) {
        this.enter(this.nextBytes)
        return
      }
      this.finish()
    }
    this.end()
  }

  protected finish(): void {
    this.succeed(this.doneBytes)
  }
}

/** Writes all of a buffer; with position −1 at the current file offset. @see dispatch_io_write(3) */
export class Write extends Transfer<void> {
  start(): void {
    const { gcd, address, rank, file } = this
    const bytes = Math.min(this.lengthBytes - this.doneBytes, this.maxBytes)
    const position = this.position === -1 ? -1 : this.position + this.doneBytes
    gcd.native.write(gcd.begin(this), rank, file.fd, address, bytes, position, fdOwner.ours, false)
  }

  complete(result: number): void {
    this.leave()
    if (result <= 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result < 0 ? result : EIO, 'write', this.file.path)) // 0 would come again for ever
    } else {
      this.doneBytes += result
      if (this.doneBytes === this.lengthBytes) this.finish()
      else if (this.aborted) this.fail(undefined)
      else {
        this.enter(this.nextBytes)
        return
      }
    }
    this.end()
  }

  protected finish(): void {
    this.commit(undefined)
  }
}
