import { ftruncate, type Stats } from 'node:fs'
import type { Chunk, ChunksOptions, File as SeekFile } from '@kiruna/fs-seek'
import { chunks } from '@kiruna/fs-seek/chunks'
import { Close, nothing, type OpenFile, RingCall, RingOperation, statx } from '@kiruna/linux-uring/operation'
import { type Ring, ring } from '@kiruna/linux-uring/ring'
import {
  EINVAL,
  EIO,
  prepFadvise,
  prepFallocate,
  prepFsync,
  prepFtruncate,
  prepRead,
  prepWrite,
  punt,
} from '@kiruna/linux-uring/sqe'
import type { Caller, Rank } from '@kiruna/priority'
import { checkBuffer, checkInteger, detached } from '@kiruna/priority/arguments'
import { systemError } from '@kiruna/priority/error'
import { lane, maxPieceBytes } from '@kiruna/priority/lane'
import { InUse, promised } from '@kiruna/priority/operation'

/** A read of this size needs no readahead. */
export const scanBytes = 128 * 1024

/** An open file. `@kiruna/fs-seek` says what its functions promise. */
export class File implements SeekFile {
  readonly fd: number
  readonly #file: OpenFile

  /** @internal */
  constructor(fd: number, path: string | Buffer, direct: boolean, hasAccount: boolean) {
    this.fd = fd
    const device = hasAccount ? ring().native.device(fd) : -1
    const inUse = new InUse(path, device < 0 ? undefined : lane.disk(device))
    this.#file = { fd, path, direct, inUse, scans: 0, readsAhead: true }
  }

  /** @see io_uring_prep_read(3), pread(2) */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Read(this.#file, buffer, position, caller, resolve, reject).run('read')
    })
  }

  /** @see io_uring_prep_write(3), pwrite(2) */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Write(this.#file, buffer, position, caller, resolve, reject).run('write')
    })
  }

  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void> {
    return chunks((buffer, position, asker) => this.read(buffer, position, asker), caller, options)
  }

  /** @see io_uring_prep_statx(3), statx(2) */
  stat(caller: Caller): Promise<Stats> {
    return promised((resolve, reject) => {
      const { fd, path, inUse } = this.#file
      return statx('fstat', fd, path, caller, resolve, reject, inUse).run()
    })
  }

  /** @see io_uring_prep_fsync(3), fsync(2) */
  sync(caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      const { fd, path, inUse } = this.#file
      const prepare = (ring: Ring, call: RingCall<void>) => prepFsync(ring, ring.sqe(fd, call))
      const about = { syscall: 'fsync', path, inUse, changes: true }
      return new RingCall(about, prepare, nothing, caller, resolve, reject).run()
    })
  }

  /** Before Linux 6.9 node:fs's own. @see io_uring_prep_ftruncate(3), ftruncate(2) */
  truncate(lengthBytes: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkInteger(lengthBytes, 'lengthBytes')
      const { fd, path, inUse } = this.#file
      const prepare = (ring: Ring, call: RingCall<void>) => {
        if (call.pooled) ftruncate(fd, lengthBytes, error => call.complete(error?.errno ?? 0))
        else prepFtruncate(ring, ring.sqe(fd, call), lengthBytes)
      }
      const about = { syscall: 'ftruncate', path, inUse, changes: true }
      return new Ftruncate(about, prepare, nothing, caller, resolve, reject).run()
    })
  }

  /** @see io_uring_prep_fallocate(3), fallocate(2) */
  allocate(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkInteger(offsetBytes, 'offsetBytes')
      checkInteger(lengthBytes, 'lengthBytes', 1)
      const { fd, path, inUse } = this.#file
      const prepare = (ring: Ring, call: RingCall<void>) =>
        prepFallocate(ring, ring.sqe(fd, call), offsetBytes, lengthBytes)
      const about = { syscall: 'fallocate', path, inUse, changes: true }
      return new RingCall(about, prepare, nothing, caller, resolve, reject).run()
    })
  }

  /** @see close(2) */
  close(): Promise<void> {
    const { fd, path, inUse } = this.#file
    return inUse.close(() => new Promise((resolve, reject) => new Close(fd, path, resolve, reject)))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** What is read or written: an open file, or what a writeAll has open. */
type Target = Pick<OpenFile, 'fd' | 'path'> & { inUse?: InUse }

/** A buffer's transfer from a file or to it, piece by piece. */
abstract class Transfer<T, Of extends Target> extends RingOperation<T> {
  protected readonly ownsBuffer = false
  protected readonly file: Of
  protected readonly buffer: NodeJS.ArrayBufferView
  protected readonly position: number
  protected readonly lengthBytes: number
  protected doneBytes = 0

  /** @param position −1: at the current file offset */
  constructor(
    file: Of,
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

/** Fills a buffer, up to the end of the file. */
class Read extends Transfer<number, OpenFile> {
  #askedBytes = 0
  #scans = false

  /** The lane has admitted it: one submission. */
  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.buffer.byteLength !== this.lengthBytes) throw detached()
    const { ring, file, doneBytes } = this
    const bytes = (this.#askedBytes = Math.min(this.lengthBytes - doneBytes, this.maxBytes))
    const address = ring.addressOf(this.buffer) + doneBytes
    this.#scans = this.laneRank > 1 && bytes >= scanBytes && !file.direct
    if (this.#scans) file.scans++
    if (file.readsAhead !== (file.scans === 0)) this.#adviseReadahead()
    const sqe = ring.sqe(file.fd, this)
    prepRead(ring, sqe, address, bytes, this.position + doneBytes)
    if (ring.mustPunt(file.fd, bytes, this.laneRank)) punt(ring, sqe)
    ring.submitSoon(this.laneRank as Rank)
  }

  /** @param result bytes, or a negative errno */
  complete(result: number): void {
    this.leave()
    if (this.#scans) this.file.scans--
    this.#scans = false
    if (result < 0) {
      if (this.retry(result, () => this.enter(this.nextBytes))) return
      this.fail(systemError(result, 'read', this.file.path))
    } else {
      this.doneBytes += result
      // A short direct read was the last: the next one would begin unaligned.
      const isShort = this.file.direct && result < this.#askedBytes
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

  /** The kernel may read megabytes ahead, and an urgent read would wait behind them. */
  #adviseReadahead(): void {
    const { ring, file } = this
    file.readsAhead = !file.readsAhead
    prepFadvise(ring, ring.sqe(file.fd, undefined), file.readsAhead)
  }
}

/** Writes all of a buffer. */
export class Write extends Transfer<void, Target> {
  /** The lane has admitted it: one submission. */
  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
    if (this.buffer.byteLength !== this.lengthBytes) throw detached()
    const { ring, doneBytes, position } = this
    const { fd } = this.file
    const bytes = Math.min(this.lengthBytes - doneBytes, this.maxBytes)
    const address = ring.addressOf(this.buffer) + doneBytes
    const sqe = ring.sqe(fd, this)
    prepWrite(ring, sqe, address, bytes, position === -1 ? -1 : position + doneBytes)
    if (ring.mustPunt(fd, bytes, this.laneRank)) punt(ring, sqe)
    ring.submitSoon(this.laneRank as Rank)
  }

  /** @param result bytes, or a negative errno */
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

/** Before Linux 6.9 io_uring cannot truncate. */
class Ftruncate extends RingCall<void> {
  static #isMissing = false
  override pooled = Ftruncate.#isMissing

  override complete(result: number): void {
    if (result !== EINVAL || this.pooled || this.aborted) {
      if (result === 0 && this.pooled) Ftruncate.#isMissing = true // it worked in node:fs, and not on the ring
      super.complete(result)
      return
    }
    // The kernel does not know the call, or the descriptor cannot be truncated: node:fs tells which.
    this.leave()
    this.pooled = true
    this.enter(0)
  }
}
