import type { Stats } from 'node:fs'
import * as fs from 'node:fs'
import type { File as SeekFile } from '@kiruna/fs-seek'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
import { type Failure, PoolCall, PoolOperation, withPath } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, detached } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { maxPieceBytes } from '@kiruna/priority/lane'
import { InUse } from '@kiruna/priority/operation'

const EIO = errnoOf('EIO')

/** An open file, as its operations know it. */
interface OpenFile {
  readonly fd: number
  /** For errors: node:fs only knows the descriptor. */
  readonly path: string | Buffer
  /** Opened with O_DIRECT. */
  readonly direct?: boolean
  /** Keeps it open under them; absent where nobody else can close it. */
  readonly inUse?: InUse
}

/** An open file, read and written at offsets: any number of operations at once. */
export class File implements SeekFile {
  /** The file descriptor. It stays this file's: close the file, not the descriptor. */
  readonly fd: number
  readonly #file: Required<OpenFile>

  /** @internal */
  constructor(fd: number, path: string | Buffer, direct: boolean) {
    this.fd = fd
    this.#file = { fd, path, direct, inUse: new InUse() }
  }

  /** Fills `buffer` from `position` on. What libuv has begun, an abort waits for. @see pread(2) */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const read = new Read(this.#file, buffer, position, caller, resolve, reject)
      this.#file.inUse.enter('read')
      if (buffer.byteLength > 0 || read.asker.signal?.aborted) return read.begin(read.nextBytes)
      read.succeed(0)
      read.end()
    })
  }

  /** Writes all of `buffer`, from `position` on. What libuv has begun, an abort waits for. @see pwrite(2) */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const write = new Write(this.#file, buffer, position, caller, resolve, reject)
      this.#file.inUse.enter('write')
      if (buffer.byteLength > 0 || write.asker.signal?.aborted) return write.begin(write.nextBytes)
      write.succeed(undefined)
      write.end()
    })
  }

  /** The file in order, read ahead. @throws TypeError, RangeError: bad options, at once */
  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void> {
    return chunks((buffer, position, asker) => this.read(buffer, position, asker), caller, options)
  }

  /** @see fstat(2) */
  stat(caller: Caller): Promise<Stats> {
    return this.#call<Stats>('fstat', done => fs.fstat(this.fd, done), false, caller)
  }

  /** What has been written is on the disk. @see fsync(2) */
  sync(caller: Caller): Promise<void> {
    return this.#call<void>('fsync', done => fs.fsync(this.fd, done), true, caller)
  }

  /** Makes the file `lengthBytes` long. @see ftruncate(2) */
  async truncate(lengthBytes: number, caller: Caller): Promise<void> {
    checkInteger(lengthBytes, 'lengthBytes')
    return this.#call<void>('ftruncate', done => fs.ftruncate(this.fd, lengthBytes, done), true, caller)
  }

  #call<T>(
    syscall: string,
    call: (done: (error: Failure, value: T) => void) => void,
    changes: boolean,
    caller: Caller,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const { path, inUse } = this.#file
      const one = new PoolCall(call, { path, changes, inUse }, caller, resolve, reject)
      inUse.enter(syscall)
      one.begin(0)
    })
  }

  /** Refuses new operations at once, waits for those under way, and closes. Idempotent. @see close(2) */
  close(): Promise<void> {
    return this.#file.inUse.close(
      () =>
        new Promise((resolve, reject) => {
          fs.close(this.fd, error => (error ? reject(withPath(error, this.#file.path)) : resolve()))
        }),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** A buffer on its way to a file or from it, piece by piece. */
abstract class Transfer<T> extends PoolOperation<T> {
  protected readonly ownsBuffer = false
  protected readonly file: OpenFile
  protected readonly buffer: NodeJS.ArrayBufferView
  protected readonly position: number
  protected readonly lengthBytes: number
  protected doneBytes = 0

  /** @param position −1: where the descriptor stands */
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

  /** What the lane counts the next piece as. */
  get nextBytes(): number {
    return Math.min(this.lengthBytes - this.doneBytes, maxPieceBytes)
  }

  end(): void {
    this.file.inUse?.leave()
  }
}

/** Fills a buffer up to the end of the file. @see pread(2) */
class Read extends Transfer<number> {
  start(): void {
    // It was checked when it was given, but may have been transferred while it waited.
    if (this.buffer.byteLength !== this.lengthBytes) throw detached()
    const { fd, path, direct } = this.file
    const done = this.doneBytes
    const askedBytes = Math.min(this.lengthBytes - done, this.maxBytes)
    fs.read(fd, this.buffer, done, askedBytes, this.position + done, (error, bytes) => {
      this.leave()
      if (error !== null) {
        if (this.retry(error.errno!, () => this.enter(this.nextBytes))) return
        this.fail(withPath(error, path))
      } else if (this.aborted) this.fail(undefined)
      else {
        this.doneBytes += bytes
        // After a short direct read the next would begin unaligned: it was the end.
        const isEnd = bytes === 0 || this.doneBytes === this.lengthBytes || (direct && bytes < askedBytes)
        if (!isEnd) return this.enter(this.nextBytes)
        this.succeed(this.doneBytes)
      }
      this.end()
    })
  }
}

/** @see pwrite(2) */
export class Write extends Transfer<void> {
  start(): void {
    if (this.buffer.byteLength !== this.lengthBytes) throw detached() // as in a read
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
        if (this.doneBytes === this.lengthBytes) this.commit(undefined)
        else if (bytes === 0)
          this.fail(systemError(EIO, 'write', path)) // it would come again for ever
        else if (this.aborted) this.fail(undefined)
        else return this.enter(this.nextBytes)
      }
      this.end()
    })
  }
}
