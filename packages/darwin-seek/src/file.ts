import type { Stats } from 'node:fs'
import { Call } from '@kiruna/darwin-dispatch/call'
import { Close } from '@kiruna/darwin-dispatch/close'
import type { Native } from '@kiruna/darwin-dispatch/native'
import { statsOf } from '@kiruna/darwin-dispatch/stat'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
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
  readonly #inUse = new InUse()

  /** @internal */
  constructor(fd: number, path: string | Buffer) {
    this.fd = fd
    this.#path = path
  }

  /**
   * Fills `buffer` from `position` on.
   * @param position in bytes
   * @returns how many bytes were read: fewer than the buffer holds only at the end of the file
   * @throws EBADF, EIO, EISDIR, EINVAL … (`err.code`). An abort rejects when GCD is done with the buffer,
   *   whose content is then undefined
   * @see dispatch_io_read(3), pread(2)
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const [fd, path, inUse] = [this.fd, this.#path, this.#inUse]
      const read = new Read(fd, path, buffer, position, inUse, caller, resolve, reject)
      inUse.enter('read')
      if (buffer.byteLength > 0 || read.asker.signal?.aborted) return read.begin(read.nextBytes)
      read.succeed(0)
      read.end()
    })
  }

  /**
   * Writes all of `buffer`, from `position` on; a file opened to append (`'a'`) has it at its end.
   * @param position in bytes
   * @throws EBADF, EFBIG, EIO, ENOSPC … (`err.code`): some of it may have been written. An abort rejects when GCD
   *   is done with the buffer, or resolves if all of it had been written by then
   * @see dispatch_io_write(3), pwrite(2)
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
      const about = { syscall: 'fstat', path: this.#path, inUse: this.#inUse }
      const call = (native: Native, id: number, rank: number) => native.fstat(id, rank, this.fd)
      const fstat = new Call(about, call, statsOf, caller, resolve, reject)
      this.#inUse.enter('fstat')
      fstat.begin(0)
    })
  }

  /**
   * Resolves when what has been written, and the file's size and times, are on the disk.
   * @throws EIO, ENOSPC, EINVAL: a kind of file that knows no such thing (`err.code`)
   * @see fsync(2); on macOS F_FULLFSYNC of fcntl(2), out of the disk's own cache
   */
  sync(caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      const about = { syscall: 'fsync', path: this.#path, inUse: this.#inUse }
      const call = (native: Native, id: number, rank: number) => native.fsync(id, rank, this.fd, true)
      const fsync = new Call<void>(about, call, undefined, caller, resolve, reject)
      this.#inUse.enter('fsync')
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
      const about = { syscall: 'ftruncate', path: this.#path, inUse: this.#inUse }
      const call = (native: Native, id: number, rank: number) =>
        native.ftruncate(id, rank, this.fd, lengthBytes)
      const ftruncate = new Call<void>(about, call, undefined, caller, resolve, reject)
      this.#inUse.enter('ftruncate')
      ftruncate.begin(0)
    })
  }

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see close(2)
   */
  close(): Promise<void> {
    return this.#inUse.close(
      () => new Promise((resolve, reject) => new Close(this.fd, this.#path, resolve, reject)),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
