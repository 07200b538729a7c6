import { unavailable } from '@kiruna/priority/addon'
import { noteMapped } from '@kiruna/priority/arguments'
import { coded, errnoOf, fileClosed, systemError } from '@kiruna/priority/error'
import { InUse } from '@kiruna/priority/operation'
import type { Handle } from './native.ts'
import { kind, native, outcome, request } from './thread.ts'

/** Not a gigabyte: V8 counts an ArrayBuffer as memory of its own, and would collect the whole heap. */
const windowBytes = 32 * 1024 * 1024
/** Windows overlap by half, so a view up to this length always lies in one window. */
const strideBytes = windowBytes / 2
/** A longer view's window begins at a multiple of this: its bytes are aligned as in the file. */
const alignmentBytes = 4096
/** Unmapping is quick, so it is made at user-blocking. */
export const unmapRank = 1

/** An operation that `close` ends instead of waiting for it. */
export interface Stoppable {
  stopFor(error: Error): void
}

/**
 * Pages of a file in memory, from map or resize until they are unmapped. Views are cut from windows. A window is made
 * when it is first needed, and is collected when no view of it is left:
 *
 *     pages     ├────────────────────────────────────────────────────┤
 *     windows   ├──── 32 MiB ────┤       ├──── 32 MiB ────┤
 *                       ├──── 32 MiB ────┤       ├──── 32 MiB ─┤
 */
export class Mapped {
  readonly handle: Handle
  readonly path: string | Buffer
  readonly lengthBytes: number
  readonly inUse: InUse
  readonly stoppable = new Set<Stoppable>()
  readonly #leadBytes: number
  readonly #windows: (WeakRef<ArrayBuffer> | undefined)[] = []
  #longWindows: WeakRef<ArrayBuffer>[] = []
  #longWindowsLimit = 16
  #isRetired = false

  constructor(handle: Handle, path: string | Buffer) {
    this.handle = handle
    this.path = path
    this.inUse = new InUse(path)
    this.lengthBytes = native().lengthBytes(handle)
    this.#leadBytes = native().leadBytes(handle)
  }

  /** Begins an operation, which `inUse.leave` ends. @throws EBADF: closed; EBUSY: retired */
  enter(syscall: string): void {
    if (this.#isRetired) throw systemError(errnoOf('EBUSY'), syscall, this.path)
    this.inUse.enter(syscall)
  }

  /** Checks before a synchronous operation. @throws EBADF: closed; EBUSY: retired */
  checkOpen(syscall: string): void {
    this.enter(syscall)
    this.inUse.leave()
  }

  /** The error for a native call's result. */
  error(result: number, syscall: string): Error {
    return result === outcome.torn ? this.tornError() : systemError(result, syscall, this.path)
  }

  /** The file has become shorter than its mapping: the missing part reads as zeros. */
  tornError(): Error {
    const message = `'${this.path}' has become shorter than its mapping, or could not be read: parts of it are zeros`
    return Object.assign(coded(Error, 'ERR_KIRUNA_TORN', message), { path: String(this.path) })
  }

  /**
   * Detaches the views and refuses new operations: the pages are about to be unmapped.
   * @throws EBUSY: more than one operation is under way, or a view is pinned
   */
  retire(syscall: string): void {
    this.checkUnused(syscall, 1)
    this.#isRetired = true
    this.#detach()
  }

  /** @throws EBUSY: more operations than `max` are under way, or a view is pinned */
  checkUnused(syscall: string, max = 0): void {
    if (this.inUse.count > max) throw systemError(errnoOf('EBUSY'), syscall, this.path)
  }

  /** The pages were not unmapped after all. */
  unretire(): void {
    this.#isRetired = false
  }

  view(offsetBytes: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    if (lengthBytes === 0) return new Uint8Array(0)
    const from = this.#leadBytes + offsetBytes
    const index = Math.floor(from / strideBytes)
    const previous = bufferOf(this.#windows[index - 1]) // first, so that a scan does not make twice as many
    if (previous !== undefined) {
      const at = from - (index - 1) * strideBytes
      if (at + lengthBytes <= previous.byteLength) return new Uint8Array(previous, at, lengthBytes)
    }
    const at = from - index * strideBytes
    if (at + lengthBytes <= windowBytes) {
      return new Uint8Array(bufferOf(this.#windows[index]) ?? this.#openWindow(index), at, lengthBytes)
    }
    const leadBytes = from % alignmentBytes
    const window = this.#openLongWindow(from - leadBytes, leadBytes + lengthBytes)
    return new Uint8Array(window, leadBytes, lengthBytes)
  }

  /** Waits for operations under way, then detaches the views and unmaps. Idempotent. */
  close(): Promise<void> {
    return this.inUse.close(() => {
      this.#detach()
      return new Promise((resolve, reject) => {
        const done = (result: number) => {
          if (result < 0) reject(this.error(result, 'close'))
          else resolve()
        }
        request({ done }, (native, id) => native.request(kind.unmap, id, unmapRank, this.handle, 0, 0))
      })
    })
  }

  /** Ends the operations that `close` does not wait for. */
  stop(): void {
    for (const operation of this.stoppable) operation.stopFor(fileClosed('mmap', this.path))
  }

  #detach(): void {
    for (const window of [...this.#windows.splice(0), ...this.#longWindows.splice(0)]) {
      const buffer = window?.deref()
      if (buffer !== undefined) native().detach(buffer)
    }
  }

  #openWindow(index: number): ArrayBuffer {
    const start = index * strideBytes
    const lengthBytes = Math.min(windowBytes, this.#leadBytes + this.lengthBytes - start)
    const window = openWindow(this.handle, start, lengthBytes)
    this.#windows[index] = new WeakRef(window)
    return window
  }

  #openLongWindow(start: number, lengthBytes: number): ArrayBuffer {
    const window = openWindow(this.handle, start, lengthBytes)
    if (this.#longWindows.length >= this.#longWindowsLimit) {
      this.#longWindows = this.#longWindows.filter(window => window.deref() !== undefined)
      this.#longWindowsLimit = Math.max(16, this.#longWindows.length * 2)
    }
    this.#longWindows.push(new WeakRef(window))
    return window
  }
}

/** undefined if the window has been collected, or transferred: a byte stream transfers the buffers that it is given. */
function bufferOf(window: WeakRef<ArrayBuffer> | undefined): ArrayBuffer | undefined {
  const buffer = window?.deref()
  return buffer?.byteLength === 0 ? undefined : buffer
}

function openWindow(handle: Handle, start: number, lengthBytes: number): ArrayBuffer {
  const window = native().window(handle, start, lengthBytes)
  if (window === undefined) {
    throw unavailable(
      'This runtime allows no memory from outside its own heap, so there are no views: use read, readSync or chunks, which copy',
    )
  }
  noteMapped(window)
  return window
}
