import { fstat, type Stats } from 'node:fs'
import type { File as SeekFile } from '@kiruna/fs-seek'
import { notAllocated } from '@kiruna/fs-seek/allocate'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
import { type Failure, PoolCall } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { promised } from '@kiruna/priority/operation'
import { nothing, type OpenFile } from '@kiruna/win-iocp/open-file'
import { bytesAt, PortCall, PortOperation } from '@kiruna/win-iocp/operation'

const EBADF = errnoOf('EBADF')
const EIO = errnoOf('EIO')

/** An open file, read and written at offsets: any number of operations at once. */
export class File implements SeekFile {
  readonly #file: OpenFile

  /** @internal */
  constructor(file: OpenFile) {
    this.#file = file
  }

  /** @internal */
  static openFileOf(file: File): OpenFile {
    return file.#file
  }

  /**
   * A descriptor of the same file, which is opened once more at the first call: node:fs cannot read a handle that is on
   * a completion port. Close the file, not the descriptor.
   * @throws EMFILE … (`err.code`); EBADF: closed
   * @see https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-reopenfile
   */
  get fd(): number {
    if (this.#file.isClosed) throw systemError(EBADF, 'open', this.#file.path)
    return this.#file.descriptor
  }

  /**
   * Fills `buffer` from `position` on, up to the end of the file.
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Read(this.#file, buffer, position, caller, resolve, reject).run('read')
    })
  }

  /**
   * Writes all of `buffer` at `position`; to a file opened to append (`'a'`), at its end.
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile
   */
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

  /** node:fs's fstat of `fd`, on a thread of libuv's pool. @see fstat(2) */
  stat(caller: Caller): Promise<Stats> {
    return promised((resolve, reject) => {
      const file = this.#file
      const { path, inUse } = file
      const call = (done: (error: Failure, stats: Stats) => void) => fstat(file.descriptor, done)
      const fstatCall = new PoolCall(call, { path, inUse }, caller, resolve, reject)
      fstatCall.use(inUse, 'fstat')
      return fstatCall.begin(0)
    })
  }

  /**
   * Brings what has been written to the disk. EPERM if the file is not open for writing.
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-flushfilebuffers
   */
  sync(caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      const file = this.#file
      return new PortCall(
        { syscall: 'fsync', file, changes: true },
        (native, slot, rank) => native.flush(slot, rank, file.handle),
        nothing,
        caller,
        resolve,
        reject,
      ).run()
    })
  }

  /**
   * Makes the file `lengthBytes` long.
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-setfileinformationbyhandle
   */
  truncate(lengthBytes: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkInteger(lengthBytes, 'lengthBytes')
      const file = this.#file
      return new PortCall(
        { syscall: 'ftruncate', file, changes: true },
        (native, slot, rank) => native.setEndOfFile(slot, rank, file.handle, lengthBytes),
        nothing,
        caller,
        resolve,
        reject,
      ).run()
    })
  }

  /** ENOTSUP: FileAllocationInfo does not make a file longer, and the call that does could shorten it. */
  allocate(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void> {
    return notAllocated(this.#file.path, offsetBytes, lengthBytes, caller)
  }

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see https://learn.microsoft.com/windows/win32/api/handleapi/nf-handleapi-closehandle
   */
  close(): Promise<void> {
    return this.#file.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** A buffer's transfer from a file or to it, piece by piece. */
abstract class Transfer<T> extends PortOperation<T> {
  protected readonly ownsBuffer = false
  protected readonly file: OpenFile
  protected readonly buffer: NodeJS.ArrayBufferView
  protected readonly position: number
  protected readonly lengthBytes: number
  protected doneBytes = 0

  /** @param position −1: in order, for what has no positions */
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

  /** @throws EBADF: the file is closed */
  run(syscall: string): this {
    this.use(this.file.inUse, syscall)
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
    this.file.inUse.leave()
  }
}

/** @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile */
class Read extends Transfer<number> {
  #askedBytes = 0

  /** Gives the next piece to the system: the lane has admitted it. */
  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.buffer.byteLength !== this.lengthBytes) throw detached()
    const { port, rank, file, doneBytes } = this
    this.#askedBytes = Math.min(this.lengthBytes - doneBytes, this.maxBytes)
    const bytes = bytesAt(this.buffer, doneBytes, this.#askedBytes)
    port.native.read(port.begin(this), rank, file.handle, bytes, this.position + doneBytes)
  }

  /** @param result bytes, or a negative errno */
  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(this.nextBytes))) return
    if (result < 0) this.fail(systemError(result, 'read', this.file.path))
    else {
      this.doneBytes += result
      // A short direct read was the last: the next one would begin unaligned.
      const isShort = this.file.isDirect && result < this.#askedBytes
      const isEnd = result === 0 || isShort || this.doneBytes === this.lengthBytes
      if (!isEnd && !this.aborted) {
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

/** @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile */
export class Write extends Transfer<void> {
  /** Gives the next piece to the system: the lane has admitted it. */
  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.buffer.byteLength !== this.lengthBytes) throw detached()
    const { port, rank, file, doneBytes } = this
    const bytes = bytesAt(this.buffer, doneBytes, Math.min(this.lengthBytes - doneBytes, this.maxBytes))
    const position = this.position === -1 ? 0 : this.position + doneBytes
    port.native.write(port.begin(this), rank, file.handle, bytes, position)
  }

  /** @param result bytes, or a negative errno */
  complete(result: number): void {
    this.leave()
    if (this.retry(result, () => this.enter(this.nextBytes))) return
    this.doneBytes += Math.max(result, 0)
    if (result < 0) this.fail(systemError(result, 'write', this.file.path))
    else if (this.doneBytes === this.lengthBytes) this.finish()
    else if (this.aborted) this.fail(undefined)
    else if (result === 0)
      this.fail(systemError(EIO, 'write', this.file.path)) // 0 would come again for ever
    else {
      this.enter(this.nextBytes)
      return
    }
    this.end()
  }

  protected finish(): void {
    this.commit(undefined)
  }
}
