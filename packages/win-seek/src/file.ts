import { closeSync, fstat, type Stats } from 'node:fs'
import { type Chunk, type ChunksOptions, chunks } from '@kiruna/fs-seek/chunks'
import { PoolCall } from '@kiruna/node-libuv/pool'
import type { Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger } from '@kiruna/priority/arguments'
import { errnoOf, systemError } from '@kiruna/priority/error'
import { InUse } from '@kiruna/priority/operation'
import { Close } from '@kiruna/win-iocp/close'
import { port } from '@kiruna/win-iocp/iocp'
import { Read } from './read.ts'
import { Fsync, Ftruncate, Write } from './write.ts'

const EBADF = errnoOf('EBADF')

/** An open file, read and written at offsets: any number of operations at once. */
export class File {
  /** Its number in the addon. */
  readonly #handle: number
  readonly #path: string | Buffer
  readonly #direct: boolean
  readonly #inUse = new InUse()
  #fd = -1
  #isClosed = false

  /** @internal */
  constructor(handle: number, path: string | Buffer, direct: boolean) {
    this.#handle = handle
    this.#path = path
    this.#direct = direct
  }

  /** @internal */
  static handleOf(file: File): number {
    return file.#handle
  }

  /**
   * The file descriptor, for node:fs. It stays this file's: close the file, not the descriptor. The file is opened once
   * more when it is first asked for: node:fs could not read what is on a completion port.
   * @throws EMFILE … (`err.code`); EBADF: closed
   * @see https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-reopenfile
   */
  get fd(): number {
    if (this.#isClosed) throw systemError(EBADF, 'open', this.#path)
    return this.#descriptor()
  }

  #descriptor(): number {
    if (this.#fd < 0) {
      const fd = port().native.descriptor(this.#handle)
      if (fd < 0) throw systemError(fd, 'open', this.#path)
      this.#fd = fd
    }
    return this.#fd
  }

  /**
   * Fills `buffer` from `position` on.
   * @param position in bytes
   * @returns how many bytes were read: fewer than the buffer holds only at the end of the file
   * @throws EBADF, EIO, EISDIR, EINVAL … (`err.code`). An abort rejects when the system is done with the buffer,
   *   whose content is then undefined
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-readfile
   */
  read(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<number> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const [file, path, direct, inUse] = [this.#handle, this.#path, this.#direct, this.#inUse]
      const read = new Read(file, path, direct, buffer, position, inUse, caller, resolve, reject)
      inUse.enter('read')
      if (buffer.byteLength > 0 || read.asker.signal?.aborted) return read.begin(read.nextBytes)
      read.succeed(0)
      read.end()
    })
  }

  /**
   * Writes all of `buffer`, from `position` on; a file opened to append (`'a'`) has it at its end.
   * @param position in bytes
   * @throws EBADF, EFBIG, EIO, ENOSPC … (`err.code`): some of it may have been written. An abort rejects when the system
   *   is done with the buffer, or resolves if all of it had been written by then
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-writefile
   */
  write(buffer: NodeJS.ArrayBufferView, position: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      checkBuffer(buffer)
      checkInteger(position, 'position')
      const [file, path, inUse] = [this.#handle, this.#path, this.#inUse]
      const write = new Write(file, path, buffer, position, inUse, caller, resolve, reject)
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

  /** node:fs's own, on a thread of libuv's pool, of `fd`. @see fstat(2) */
  stat(caller: Caller): Promise<Stats> {
    return new Promise((resolve, reject) => {
      const call = (done: (error: NodeJS.ErrnoException | null, stats: Stats) => void) =>
        fstat(this.#descriptor(), done)
      const pooled = new PoolCall(call, { path: this.#path, inUse: this.#inUse }, caller, resolve, reject)
      this.#inUse.enter('fstat')
      pooled.begin(0)
    })
  }

  /**
   * Resolves when what has been written, and the file's size and times, are on the disk.
   * @throws EIO, ENOSPC, EINVAL: a kind of file that knows no such thing (`err.code`)
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-flushfilebuffers
   */
  sync(caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      const fsync = new Fsync(this.#handle, this.#path, this.#inUse, caller, resolve, reject)
      this.#inUse.enter('fsync')
      fsync.begin(0)
    })
  }

  /**
   * Makes the file `lengthBytes` long: what is beyond is lost, what is new reads as zeros.
   * @throws EFBIG, EINVAL: not opened for writing (`err.code`)
   * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-setfileinformationbyhandle
   */
  truncate(lengthBytes: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      checkInteger(lengthBytes, 'lengthBytes')
      const ftruncate = new Ftruncate(
        this.#handle,
        this.#path,
        lengthBytes,
        this.#inUse,
        caller,
        resolve,
        reject,
      )
      this.#inUse.enter('ftruncate')
      ftruncate.begin(0)
    })
  }

  /**
   * Refuses new operations at once, waits for those under way, and closes. Idempotent.
   * @see https://learn.microsoft.com/windows/win32/api/handleapi/nf-handleapi-closehandle
   */
  close(): Promise<void> {
    this.#isClosed = true
    return this.#inUse.close(() => {
      if (this.#fd >= 0) closeSync(this.#fd)
      return new Promise((resolve, reject) => new Close(this.#handle, this.#path, resolve, reject))
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
