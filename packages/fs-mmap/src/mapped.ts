import { unavailable } from '@kiruna/priority/addon'
import { coded, errnoOf, systemError } from '@kiruna/priority/error'
import { InUse } from '@kiruna/priority/operation'
import type { Handle } from './native.ts'
import { kUnmap, native, request } from './thread.ts'

/** One ArrayBuffer of a gigabyte would cost a collection of the whole heap: V8 counts it as a gigabyte of garbage to be. */
const windowBytes = 32 * 1024 * 1024
/** Windows overlap by half: what is no longer than that always lies in one. */
const strideBytes = windowBytes / 2
/** Where a longer one begins: anything in it is aligned as it is in the file. */
const alignmentBytes = 4096
/** Nobody waits for it more than for anything else; it is short. */
export const unmapRank = 1

/** What is under way on a mapping and is not worth waiting for when it closes. */
export interface Stoppable {
  stopFor(error: Error): void
}

/**
 * Pages of a file in memory, from map or resize until they are unmapped. Views are cut from windows, which are made
 * when they are first needed and go when nobody has a view of them:
 *
 *     pages     ├────────────────────────────────────────────────────┤
 *     windows   ├──── 32 MiB ────┤       ├──── 32 MiB ────┤
 *                       ├──── 32 MiB ────┤       ├──── 32 MiB ─┤
 */
export class Mapped {
  readonly handle: Handle
  readonly path: string | Buffer
  readonly lengthBytes: number
  readonly inUse = new InUse()
  readonly stoppable = new Set<Stoppable>()
  readonly #leadBytes: number
  readonly #windows: (WeakRef<ArrayBuffer> | undefined)[] = []
  #longWindows: WeakRef<ArrayBuffer>[] = []
  #longWindowsLimit = 16
  #isRetired = false

  constructor(handle: Handle, path: string | Buffer) {
    this.handle = handle
    this.path = path
    this.lengthBytes = native().lengthBytes(handle)
    this.#leadBytes = native().leadBytes(handle)
  }

  /** Before an operation; `inUse.leave` is what follows it. @throws EBADF: closed; EBUSY: retired */
  enter(syscall: string): void {
    if (this.#isRetired) throw systemError(errnoOf('EBUSY'), syscall, this.path)
    this.inUse.enter(syscall)
  }

  /**
   * Takes the views away and lets nothing new begin: the pages are about to be unmapped.
   * @throws EBUSY: more than one operation is under way, or a view is pinned
   */
  retire(syscall: string): void {
    this.checkUnused(syscall, 1)
    this.#isRetired = true
    this.#detach()
  }

  /** @throws EBUSY: more operations than `most` are under way, or a view is pinned */
  checkUnused(syscall: string, most = 0): void {
    if (this.inUse.count > most) throw systemError(errnoOf('EBUSY'), syscall, this.path)
  }

  /** The pages were not unmapped after all. */
  unretire(): void {
    this.#isRetired = false
  }

  view(offsetBytes: number, lengthBytes: number): Uint8Array<ArrayBuffer> {
    if (lengthBytes === 0) return new Uint8Array(0)
    const from = this.#leadBytes + offsetBytes
    const index = Math.floor(from / strideBytes)
    const before = inUse(this.#windows[index - 1]) // a scan should not need twice as many
    if (before !== undefined) {
      const at = from - (index - 1) * strideBytes
      if (at + lengthBytes <= before.byteLength) return new Uint8Array(before, at, lengthBytes)
    }
    const at = from - index * strideBytes
    if (at + lengthBytes <= windowBytes) {
      return new Uint8Array(inUse(this.#windows[index]) ?? this.#openWindow(index), at, lengthBytes)
    }
    const leadBytes = from % alignmentBytes
    const window = this.#openLongWindow(from - leadBytes, leadBytes + lengthBytes)
    return new Uint8Array(window, leadBytes, lengthBytes)
  }

  /** Waits for what is under way, then takes the views away and unmaps. Idempotent. */
  close(): Promise<void> {
    return this.inUse.close(() => {
      this.#detach()
      return new Promise((resolve, reject) => {
        const done = (result: number) => {
          if (result < 0) reject(systemError(result, 'close', this.path))
          else resolve()
        }
        request({ done }, (native, id) => native.request(kUnmap, id, unmapRank, this.handle, 0, 0))
      })
    })
  }

  /** Ends what `close` need not wait for. */
  stop(): void {
    for (const one of this.stoppable) one.stopFor(fileClosed('mmap'))
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

/** Somebody may have transferred it: a byte stream does, with what it is given. */
function inUse(window: WeakRef<ArrayBuffer> | undefined): ArrayBuffer | undefined {
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
  return window
}

/** As a closed FileHandle says it. */
export function fileClosed(syscall: string): Error {
  const error = systemError(errnoOf('EBADF'), syscall)
  error.message = 'file closed'
  return error
}

/** The file has become shorter than its mapping: what is not there reads as zeros. */
export function tornError(path: string | Buffer): Error {
  const message = `'${path}' has become shorter than its mapping, or could not be read: parts of it are zeros`
  return Object.assign(coded(Error, 'ERR_KIRUNA_TORN', message), { path: String(path) })
}
