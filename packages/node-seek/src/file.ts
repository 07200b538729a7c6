import type { Stats } from 'node:fs'
import * as fs from 'node:fs'
import type { File as SeekFile } from '@kiruna/fs-seek'
import { notAllocated } from '@kiruna/fs-seek/allocate'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
import { close, type Done, PoolCall, withPath } from '@kiruna/node-libuv/pool'
import { type OpenFile, Transfer, Write } from '@kiruna/node-libuv/transfer'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, detached } from '@kiruna/priority/arguments'
import { InUse, promised } from '@kiruna/priority/operation'

/** An open file, read and written at offsets: any number of operations at once. */
export class File implements SeekFile {
  /** The file descriptor. It belongs to this file: close the file, not the descriptor. */
  readonly fd: number
  readonly #file: Required<OpenFile>

  /** @internal */
  constructor(fd: number, path: string | Buffer, direct: boolean) {
    this.fd = fd
    this.#file = { fd, path, direct, inUse: new InUse(path) }
  }

  /** Fills `buffer` from `position` on. An abort waits for the piece that libuv has begun. @see pread(2) */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Read(this.#file, buffer, position, caller, resolve, reject).run('read')
    })
  }

  /** Writes all of `buffer` at `position`. An abort waits for the piece that libuv has begun. @see pwrite(2) */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void> {
    return promised((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      return new Write(this.#file, buffer, position, caller, resolve, reject).run('write')
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

  /** Brings what has been written to the disk. @see fsync(2) */
  sync(caller: Caller): Promise<void> {
    return this.#call<void>('fsync', done => fs.fsync(this.fd, done), true, caller)
  }

  /** Makes the file `lengthBytes` long. @see ftruncate(2) */
  async truncate(lengthBytes: number, caller: Caller): Promise<void> {
    checkInteger(lengthBytes, 'lengthBytes')
    return this.#call<void>('ftruncate', done => fs.ftruncate(this.fd, lengthBytes, done), true, caller)
  }

  /** ENOTSUP: node:fs has no such call. */
  allocate(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void> {
    return notAllocated(this.#file.path, offsetBytes, lengthBytes, caller)
  }

  #call<T>(syscall: string, call: (done: Done<T>) => void, changes: boolean, caller: Caller): Promise<T> {
    return promised((resolve, reject) => {
      const { path, inUse } = this.#file
      const one = new PoolCall(call, { path, changes, inUse }, caller, resolve, reject)
      one.use(inUse, syscall)
      return one.begin(0)
    })
  }

  /** Refuses new operations at once, waits for those under way, and closes. Idempotent. @see close(2) */
  close(): Promise<void> {
    const { fd, path, inUse } = this.#file
    return inUse.close(() => close(fd, path))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** Fills a buffer up to the end of the file. @see pread(2) */
class Read extends Transfer<number> {
  start(): void {
    // The buffer was checked at the call, but may have been transferred while this waited.
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
        // A short direct read was the last: the next one would begin unaligned.
        const isEnd = bytes === 0 || this.doneBytes === this.lengthBytes || (direct && bytes < askedBytes)
        if (!isEnd) return this.enter(this.nextBytes)
        this.finish()
      }
      this.end()
    })
  }

  protected finish(): void {
    this.succeed(this.doneBytes)
  }
}
