import type { Stats } from 'node:fs'
import * as fs from 'node:fs'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
import { type Failure, PoolCall, withPath } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger } from '@kiruna/priority/arguments'
import { InUse } from '@kiruna/priority/operation'
import { Read } from './read.ts'
import { Write } from './write.ts'

/** An open file, read and written at offsets: any number of operations at once. */
export class File {
  /** The file descriptor. It stays this file's: close the file, not the descriptor. */
  readonly fd: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #inUse = new InUse()

  /** @internal */
  constructor(fd: number, path: string | Buffer, direct: boolean) {
    this.fd = fd
    this.#path = path
    this.#direct = direct
  }

  /**
   * Fills `buffer` from `position` on.
   * @param position in bytes
   * @returns how many bytes were read: fewer than the buffer holds only at the end of the file
   * @throws EBADF, EIO, EISDIR, EINVAL … (`err.code`). An abort rejects when libuv is done with the buffer,
   *   whose content is then undefined
   * @see pread(2)
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const [fd, path, direct, inUse] = [this.fd, this.#path, this.#direct, this.#inUse]
      const read = new Read(fd, path, direct, buffer, position, inUse, caller, resolve, reject)
      inUse.enter('read')
      if (buffer.byteLength > 0 || read.asker.signal?.aborted) return read.begin(read.nextBytes)
      read.succeed(0)
      read.end()
    })
  }

  /**
   * Writes all of `buffer`, from `position` on; a file opened to append (`'a'`) has it at its end.
   * @param position in bytes
   * @throws EBADF, EFBIG, EIO, ENOSPC … (`err.code`): some of it may have been written. An abort rejects when libuv
   *   is done with the buffer, or resolves if all of it had been written by then
   * @see pwrite(2)
   */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const [fd, path, inUse] = [this.fd, this.#path, this.#inUse]
      const write = new Write(fd, path, buffer, position, inUse, caller, resolve, reject)
      inUse.enter('write')
      if (buffer.byteLength > 0 || write.asker.signal?.aborted) return write.begin(write.nextBytes)
      write.succeed(undefined)
      write.end()
    })
  }

  /**
   * The file in order, read ahead.
   * @throws TypeError, RangeError: bad options, at once
   */
  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void> {
    return chunks((buffer, position, asker) => this.read(buffer, position, asker), caller, options)
  }

  /** @see fstat(2) */
  stat(caller: Caller): Promise<Stats> {
    return new Promise((resolve, reject) => {
      const [fd, path, inUse] = [this.fd, this.#path, this.#inUse]
      const call = (done: (error: Failure, stats: Stats) => void) => fs.fstat(fd, done)
      const fstat = new PoolCall(call, { path, inUse }, caller, resolve, reject)
      inUse.enter('fstat')
      fstat.begin(0)
    })
  }

  /**
   * Resolves when what has been written, and the file's size and times, are on the disk.
   * @throws EIO, ENOSPC, EINVAL: a kind of file that knows no such thing (`err.code`)
   * @see fsync(2)
   */
  sync(caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      const [fd, path, inUse] = [this.fd, this.#path, this.#inUse]
      const call = (done: (error: Failure) => void) => fs.fsync(fd, done)
      const fsync = new PoolCall<void>(call, { path, changes: true, inUse }, caller, resolve, reject)
      inUse.enter('fsync')
      fsync.begin(0)
    })
  }

  /**
   * Makes the file `lengthBytes` long: what is beyond is lost, what is new reads as zeros.
   * @throws EFBIG, EINVAL: not opened for writing (`err.code`)
   * @see ftruncate(2)
   */
  truncate(lengthBytes: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      checkInteger(lengthBytes, 'lengthBytes')
      const [fd, path, inUse] = [this.fd, this.#path, this.#inUse]
      const call = (done: (error: Failure) => void) => fs.ftruncate(fd, lengthBytes, done)
      const ftruncate = new PoolCall<void>(call, { path, changes: true, inUse }, caller, resolve, reject)
      inUse.enter('ftruncate')
      ftruncate.begin(0)
    })
  }

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see close(2)
   */
  close(): Promise<void> {
    return this.#inUse.close(
      () =>
        new Promise((resolve, reject) => {
          fs.close(this.fd, error => (error ? reject(withPath(error, this.#path)) : resolve()))
        }),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
