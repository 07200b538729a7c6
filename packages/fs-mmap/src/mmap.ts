import { types } from 'node:util'
import type { Caller } from '@kiruna/priority'
import { checkInteger, checkPath, ownOptions, type PathLike } from '@kiruna/priority/arguments'
import { coded, invalidType, invalidValue } from '@kiruna/priority/error'
import { checkAllowed } from '@kiruna/priority/permission'
import { type Chunk, type ChunksOptions, chunks } from './chunks.ts'
import type { Mapped } from './mapped.ts'
import { MapFile, Prefault, Read, Resize, Sync } from './operations.ts'
import { native } from './thread.ts'

export type { Chunk, ChunksOptions, PathLike }

export type Access = 'read' | 'copy-on-write' | 'read-write'

export interface MapOptions {
  /** Where in the file to begin, at any byte; 0 by default. */
  offsetBytes?: number
  /** How much; by default to the end of the file. */
  lengthBytes?: number
  /**
   * `read`, the default: do not store into views. A store does not reach the file, and may not reach the next read.
   * `copy-on-write`: `read`, `readSync` and `chunks` see what is stored into a view; the file does not change.
   * `read-write`: stores into views go to the file.
   */
  access?: Access
}

/** In the order of mapping.h. */
const accesses: readonly Access[] = ['read', 'copy-on-write', 'read-write']

/**
 * Maps a file. A native thread opens and maps it, so this thread never waits for a slow disk. An empty file gives an
 * empty mapping.
 * @throws ENOENT, EACCES, EMFILE, ENOMEM … (`err.code`); ENODEV: a folder, a FIFO, a device, a file in /proc;
 *   ERR_OUT_OF_RANGE: beyond the end of the file; ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; ERR_KIRUNA_UNAVAILABLE
 * @see open(2), mmap(2)
 */
export function map(path: PathLike, caller: Caller, options: MapOptions = {}): Promise<Mapping> {
  return new Promise((resolve, reject) => {
    const { offsetBytes = 0, lengthBytes, access = 'read' } = ownOptions(options)
    const name = checkPath(path)
    checkInteger(offsetBytes, 'options.offsetBytes')
    if (lengthBytes !== undefined) checkInteger(lengthBytes, 'options.lengthBytes')
    const index = accesses.indexOf(access)
    if (index === -1) {
      throw invalidValue('options.access', `must be one of '${accesses.join("', '")}'`, access)
    }
    checkAllowed('fs.read', name)
    if (access === 'read-write') checkAllowed('fs.write', name)
    const done = (mapped: Mapped) => resolve(new Mapping(mapped, access))
    new MapFile(name, index, offsetBytes, lengthBytes, caller, done, reject).begin(0)
  })
}

/** A mapped file, or a part of one. Close it; if you forget, the garbage collector does so at some time. */
export class Mapping {
  readonly #access: Access
  #mapped: Mapped
  #retired: Promise<void> = Promise.resolve()
  /** Pages from before a resize that are not unmapped yet. */
  readonly #earlier = new Set<Mapped>()
  #closed: Promise<void> | undefined = undefined
  #isResizing = false

  /** @internal */
  constructor(mapped: Mapped, access: Access) {
    this.#mapped = mapped
    this.#access = access
  }

  /** 0 after close. */
  get byteLength(): number {
    return this.#closed !== undefined ? 0 : this.#mapped.lengthBytes
  }

  /**
   * Whether the file has become shorter than the mapping, or its disk has failed or was full: then parts of the views
   * are, or may be, zeros. Once a view has met this, it stays true.
   * @see fstat(2)
   */
  get torn(): boolean {
    return this.#closed === undefined && native().torn(this.#mapped.handle)
  }

  /**
   * Resolves when these bytes can be read without waiting for the disk, and without a page fault on this thread. Under
   * memory pressure the kernel may evict them again.
   * @throws ERR_KIRUNA_TORN; EIO (`err.code`); ERR_OUT_OF_RANGE; EBADF: closed, also while it is under way
   * @see madvise(2)
   */
  prefault(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#check(offsetBytes, lengthBytes)
      new Prefault(this.#mapped, offsetBytes, lengthBytes, caller, resolve, reject).run()
    })
  }

  /**
   * The bytes themselves, not a copy; of length 0 after close. `prefault` them: reading bytes that are not in memory
   * waits for the disk. Views longer than 16 MiB cost the garbage collector more.
   * @throws ERR_OUT_OF_RANGE; EBADF: closed; ERR_KIRUNA_UNAVAILABLE: a runtime that allows no such memory (Electron)
   */
  view(
    offsetBytes = 0,
    lengthBytes: number = Math.max(0, this.byteLength - offsetBytes),
  ): Uint8Array<ArrayBuffer> {
    this.#mapped.checkOpen('mmap')
    this.#check(offsetBytes, lengthBytes)
    return this.#mapped.view(offsetBytes, lengthBytes)
  }

  /**
   * A copy of these bytes. A native thread makes it, unless they are cached.
   * @throws ERR_KIRUNA_TORN; EIO (`err.code`); ERR_OUT_OF_RANGE; EBADF: closed
   * @see pread(2)
   */
  read(offsetBytes: number, lengthBytes: number, caller: Caller): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#check(offsetBytes, lengthBytes)
      new Read(this.#mapped, offsetBytes, lengthBytes, caller, resolve, reject).run()
    })
  }

  /**
   * A copy of these bytes at once: if they are not in memory, this thread waits for the disk.
   * @param into where to copy them; by default a new Buffer
   * @returns the bytes, in `into`'s memory if it is given
   * @throws ERR_KIRUNA_TORN; EIO (`err.code`); ERR_OUT_OF_RANGE; EBADF: closed
   * @see pread(2)
   */
  readSync(offsetBytes: number, lengthBytes: number, into?: Uint8Array): Buffer {
    const mapped = this.#mapped
    mapped.checkOpen('read')
    this.#check(offsetBytes, lengthBytes)
    const bytes = into === undefined ? Buffer.allocUnsafe(lengthBytes) : bufferOf(into, lengthBytes)
    if (lengthBytes === 0) return bytes
    const result = native().readSync(mapped.handle, offsetBytes, lengthBytes, bytes)
    if (result !== 0) throw mapped.error(result, 'read')
    return bytes
  }

  /**
   * The mapping in order, prefaulted ahead: while you work on one chunk, the next ones are read from the disk. The
   * chunks are views. Leaving the loop cancels the prefaults.
   * @throws TypeError, RangeError: bad options, at once; ERR_KIRUNA_TORN after the torn chunk, or before it
   */
  chunks(caller: Caller, options?: ChunksOptions): AsyncGenerator<Chunk, void, void> {
    const mapped = this.#mapped
    mapped.checkOpen('mmap')
    return chunks(this, () => mapped.tornError(), caller, options)
  }

  /**
   * Writes to the file, and so to the mapping, at once. The bytes are on the disk after `sync`.
   * @throws ENOSPC, EDQUOT, EIO (`err.code`); ERR_KIRUNA_TORN; ERR_OUT_OF_RANGE; ERR_INVALID_STATE: not read-write;
   *   EBADF: closed
   * @see pwrite(2)
   */
  write(offsetBytes: number, bytes: Uint8Array): void {
    if (!types.isUint8Array(bytes)) throw invalidType('bytes', 'a Buffer or a Uint8Array', bytes)
    const mapped = this.#mapped
    mapped.checkOpen('write')
    this.#checkWritable('write')
    this.#check(offsetBytes, bytes.byteLength)
    const result = native().write(mapped.handle, offsetBytes, bytes)
    if (result !== 0) throw mapped.error(result, 'write')
  }

  /**
   * Resolves when all writes, and stores into views, are on the disk.
   * @throws ENOSPC, EIO (`err.code`): there was no room for a store, or the disk has failed; ERR_KIRUNA_TORN;
   *   ERR_INVALID_STATE: not read-write; EBADF: closed
   * @see msync(2)
   */
  sync(caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#checkWritable('sync')
      new Sync(this.#mapped, caller, resolve, reject).run()
    })
  }

  /**
   * Makes the file, and the mapping with it, longer or shorter. New bytes are zeros; room for them is reserved on the
   * disk if the file system can. Earlier views have length 0 afterwards, pinned ones once they are no longer pinned.
   * @throws ENOSPC, EFBIG … (`err.code`); ERR_KIRUNA_TORN; ERR_INVALID_STATE: not read-write, not at the end of its
   *   file, or already being resized; EBADF: closed; EBUSY, on Windows: it cannot get shorter while it is pinned, being
   *   read or mapped elsewhere
   * @see ftruncate(2), fallocate(2)
   */
  resize(lengthBytes: number, caller: Caller): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#checkWritable('resize')
      checkInteger(lengthBytes, 'lengthBytes')
      if (this.#isResizing) throw invalidState('It is being resized already')
      this.#mapped.checkOpen('ftruncate')
      const ended =
        <T>(settle: (outcome: T) => void) =>
        (outcome: T) => {
          this.#isResizing = false
          settle(outcome)
        }
      const [mapped, earlier] = [this.#mapped, this.#earlier]
      const swap = (resized: Mapped) => this.#swap(resized)
      const resize = new Resize(mapped, lengthBytes, earlier, swap, caller, ended(resolve), ended(reject))
      this.#isResizing = true
      resize.run()
    })
  }

  /**
   * Keeps the mapping until the pin is disposed: `close` waits for it. For a view that you pass to something
   * asynchronous, such as zlib, crypto or fs.write.
   * @throws EBADF: closed
   */
  pin(): Disposable {
    const mapped = this.#mapped
    mapped.enter('mmap')
    let isPinned = true
    return {
      [Symbol.dispose]: () => {
        if (isPinned) mapped.inUse.leave()
        isPinned = false
      },
    }
  }

  /**
   * Refuses new operations at once, ends prefaults, waits for other operations and for pins, detaches the views, and
   * unmaps little by little on a native thread. Idempotent.
   * @see munmap(2)
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    let mapped: Mapped
    do {
      mapped = this.#mapped
      mapped.stop()
      await mapped.close()
    } while (mapped !== this.#mapped) // a resize was under way
    await this.#retired
  }

  /** The file has been mapped anew: the earlier pages are unmapped when nothing uses them any more. */
  #swap(resized: Mapped): void {
    const before = this.#mapped
    this.#mapped = resized
    if (this.#closed !== undefined) resized.close().catch(nothing) // `close` waits for it, and rejects
    this.#earlier.add(before)
    const unmapped = before.close().finally(() => this.#earlier.delete(before))
    this.#retired = Promise.all([this.#retired, unmapped]).then(nothing)
    this.#retired.catch(nothing) // `close` rejects with it
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    const mappedBytes = this.#mapped.lengthBytes
    checkInteger(offsetBytes, 'offsetBytes', 0, mappedBytes)
    checkInteger(lengthBytes, 'lengthBytes', 0, mappedBytes - offsetBytes)
  }

  #checkWritable(what: string): void {
    if (this.#access === 'read-write') return
    throw invalidState(`${what} needs a mapping with access 'read-write', this one has '${this.#access}'`)
  }
}

/** The first `lengthBytes` of `into`. */
function bufferOf(into: Uint8Array, lengthBytes: number): Buffer {
  if (!types.isUint8Array(into)) throw invalidType('into', 'a Buffer or a Uint8Array', into)
  if (into.byteLength === lengthBytes && Buffer.isBuffer(into)) return into
  checkInteger(lengthBytes, 'lengthBytes', 0, into.byteLength)
  return Buffer.from(into.buffer, into.byteOffset, lengthBytes)
}

function invalidState(message: string): Error {
  return coded(Error, 'ERR_INVALID_STATE', message)
}

const nothing = () => {}
