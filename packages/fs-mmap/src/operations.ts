import { constants } from 'node:fs'
import { toNamespacedPath } from 'node:path'
import type { Caller } from '@kiruna/priority'
import { coded, errnoOf, outOfRange, systemError } from '@kiruna/priority/error'
import { lane, maxPieceBytes } from '@kiruna/priority/lane'
import { isWindows } from '@kiruna/priority/system'
import { Mapped, type Stoppable, tornError, unmapRank } from './mapped.ts'
import type { Handle } from './native.ts'
import {
  beyondEnd,
  kPrefault,
  kRead,
  kResize,
  kSync,
  kUnmap,
  notAtEnd,
  ThreadOperation,
  torn,
} from './thread.ts'

const { S_IFMT, S_IFDIR, S_IFIFO, S_IFSOCK } = constants

export type Resolve<T> = (value: T) => void
export type Reject = (reason: unknown) => void

const ENODEV = errnoOf('ENODEV')

/** What a native thread is given at a time below user-blocking: its step, posix.cc's kPrefaultStep. */
const prefaultPieceBytes = 2 * 1024 * 1024
/** And at user-blocking or above, where it has more steps of its own. */
const urgentPrefaultPieceBytes = 8 * prefaultPieceBytes
/** A read of so much is tried at once: what is cached is copied sooner than a thread is woken. */
const atOnceBytes = 64 * 1024

/** @see open(2), mmap(2) */
export class MapFile extends ThreadOperation<Mapped> {
  protected readonly ownsBuffer = true
  readonly #path: string | Buffer
  readonly #access: number
  readonly #offsetBytes: number
  readonly #lengthBytes: number | undefined

  constructor(
    path: string | Buffer,
    access: number,
    offsetBytes: number,
    lengthBytes: number | undefined,
    caller: Caller,
    resolve: Resolve<Mapped>,
    reject: Reject,
  ) {
    super(caller, resolve, reject)
    this.#path = path
    this.#access = access
    this.#offsetBytes = offsetBytes
    this.#lengthBytes = lengthBytes
  }

  start(): void {
    const name = terminated(this.#path)
    const [access, offset, length] = [this.#access, this.#offsetBytes, this.#lengthBytes ?? -1]
    this.give((native, id, rank) => native.map(id, rank, name, access, offset, length))
  }

  protected complete(result: number, value: unknown): void {
    if (this.aborted) {
      if (result === 0) this.native.request(kUnmap, 0, unmapRank, value as Handle, 0, 0)
    } else if (result !== 0) this.fail(this.#error(result, value as [string, number]))
    else this.succeed(new Mapped(value as Handle, this.#path))
  }

  #error(result: number, [call, found]: [string, number]): Error {
    if (result === beyondEnd) {
      if (this.#offsetBytes > found) {
        return outOfRange('options.offsetBytes', `at most ${found}, the file's length`, this.#offsetBytes)
      }
      const most = found - this.#offsetBytes
      return outOfRange('options.lengthBytes', `at most ${most}, to the end of the file`, this.#lengthBytes)
    }
    const error = systemError(result, call, this.#path)
    if (result !== ENODEV) return error
    return Object.assign(new Error(`${error.message}: ${insteadOf(found)}`), { ...error })
  }

  end(): void {}
}

/** As the system takes a path: Windows in UTF-16, and of any length. */
function terminated(path: string | Buffer): Buffer {
  if (isWindows) return Buffer.from(`${toNamespacedPath(String(path))}\0`, 'utf16le')
  return Buffer.concat([Buffer.from(path), Buffer.alloc(1)])
}

/** What is no file on a disk, and what does it. */
function insteadOf(mode: number): string {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return 'a folder has no bytes to map, seek.readdir lists it'
    case S_IFIFO:
      return 'a pipe cannot be mapped, stream.read reads it'
    case S_IFSOCK:
      return 'a socket cannot be mapped, connect to it'
    case constants.S_IFREG:
      return 'what is made up as it is read cannot be mapped, seek.readAll reads it'
    default:
      return 'a device cannot be mapped, stream.read reads it'
  }
}

/** An operation on a mapping. It is under way until `end`, which close waits for. */
abstract class MappedOperation<T> extends ThreadOperation<T> {
  protected readonly mapped: Mapped

  constructor(mapped: Mapped, caller: Caller, resolve: Resolve<T>, reject: Reject) {
    super(caller, resolve, reject)
    this.mapped = mapped
  }

  run(bytes: number, syscall: string): void {
    this.mapped.enter(syscall)
    this.begin(bytes)
  }

  protected error(result: number, syscall: string): Error {
    return result === torn ? tornError(this.mapped.path) : systemError(result, syscall, this.mapped.path)
  }

  end(): void {
    this.mapped.inUse.leave()
  }
}

/**
 * However long it is, the kernel reads ahead of a populating thread by no more than its window: so the lane counts a
 * piece as no more than it counts any other.
 * @see madvise(2), MADV_POPULATE_READ
 */
export class Prefault extends MappedOperation<void> implements Stoppable {
  protected readonly ownsBuffer = true
  #offsetBytes: number
  #leftBytes: number
  #isStopped = false

  constructor(
    mapped: Mapped,
    offsetBytes: number,
    lengthBytes: number,
    caller: Caller,
    resolve: Resolve<void>,
    reject: Reject,
  ) {
    super(mapped, caller, resolve, reject)
    this.#offsetBytes = offsetBytes
    this.#leftBytes = lengthBytes
  }

  override run(): void {
    this.mapped.enter('madvise')
    this.mapped.stoppable.add(this)
    if (this.#leftBytes > 0 || this.asker.signal?.aborted) this.begin(this.#laneBytes)
    else this.complete(0)
  }

  get #laneBytes(): number {
    return Math.min(this.#leftBytes, maxPieceBytes)
  }

  start(): void {
    const most = this.laneRank >= 2 ? prefaultPieceBytes : urgentPrefaultPieceBytes
    const offset = this.#offsetBytes
    const length = Math.min(this.#leftBytes, most)
    this.#offsetBytes += length
    this.#leftBytes -= length
    this.give((native, id, rank) => native.request(kPrefault, id, rank, this.mapped.handle, offset, length))
  }

  protected complete(result: number): void {
    if (result === 0 && this.#leftBytes > 0 && !this.aborted && !this.#isStopped) {
      this.isContinuation = true
      this.enter(this.#laneBytes)
      return
    }
    if (result === 0) this.succeed()
    else this.fail(this.error(result, 'madvise'))
    this.end()
  }

  stopFor(error: Error): void {
    this.#isStopped = true
    const waited = lane.withdraw(this)
    this.fail(error)
    if (waited) this.end()
    else this.stop()
  }

  override end(): void {
    this.mapped.stoppable.delete(this)
    super.end()
  }
}

/** @see pread(2) */
export class Read extends MappedOperation<Buffer> {
  protected readonly ownsBuffer = true
  readonly #offsetBytes: number
  readonly #lengthBytes: number
  #bytes = Buffer.alloc(0)
  #doneBytes = 0

  constructor(
    mapped: Mapped,
    offsetBytes: number,
    lengthBytes: number,
    caller: Caller,
    resolve: Resolve<Buffer>,
    reject: Reject,
  ) {
    super(mapped, caller, resolve, reject)
    this.#offsetBytes = offsetBytes
    this.#lengthBytes = lengthBytes
  }

  override run(): void {
    this.mapped.enter('read')
    if (this.#lengthBytes > 0 || this.asker.signal?.aborted) this.begin(this.#laneBytes)
    else this.complete(0)
  }

  get #laneBytes(): number {
    return Math.min(this.#lengthBytes - this.#doneBytes, maxPieceBytes)
  }

  start(): void {
    if (this.#doneBytes === 0) this.#bytes = Buffer.allocUnsafeSlow(this.#lengthBytes)
    const handle = this.mapped.handle
    const offset = this.#offsetBytes + this.#doneBytes
    const length = Math.min(this.#lengthBytes - this.#doneBytes, this.maxBytes)
    const into = this.#bytes.subarray(this.#doneBytes)
    this.#doneBytes += length
    if (length <= atOnceBytes && this.native.readCached(handle, offset, length, into)) {
      this.leave()
      this.complete(0)
    } else {
      this.give((native, id, rank) => native.request(kRead, id, rank, handle, offset, length, into))
    }
  }

  protected complete(result: number): void {
    if (result === 0 && this.#doneBytes < this.#lengthBytes && !this.aborted) {
      this.isContinuation = true
      this.enter(this.#laneBytes)
      return
    }
    if (result === 0) this.succeed(this.#bytes, this.#lengthBytes)
    else this.fail(this.error(result, 'read'))
    this.end()
  }
}

/** @see msync(2) */
export class Sync extends MappedOperation<void> {
  protected readonly ownsBuffer = false // it settles when it is known what has happened

  start(): void {
    this.give((native, id, rank) => native.request(kSync, id, rank, this.mapped.handle, 0, 0))
  }

  protected complete(result: number): void {
    if (result === 0) this.aborted = false // the signal came too late
    if (result === 0) this.succeed()
    else this.fail(this.error(result, 'msync'))
    this.end()
  }
}

/** @see ftruncate(2), fallocate(2) */
export class Resize extends MappedOperation<void> {
  protected readonly ownsBuffer = false
  readonly #lengthBytes: number
  readonly #earlier: ReadonlySet<Mapped>
  readonly #swap: (mapped: Mapped) => void

  /**
   * @param earlier what was mapped before other resizes, and is being unmapped
   * @param swap takes what there is from now on, before anything else that waits for the operation goes on
   */
  constructor(
    mapped: Mapped,
    lengthBytes: number,
    earlier: ReadonlySet<Mapped>,
    swap: (mapped: Mapped) => void,
    caller: Caller,
    resolve: Resolve<void>,
    reject: Reject,
  ) {
    super(mapped, caller, resolve, reject)
    this.#lengthBytes = lengthBytes
    this.#earlier = earlier
    this.#swap = swap
  }

  start(): void {
    if (isWindows && this.#lengthBytes < this.mapped.lengthBytes) this.#startAlone()
    else this.#resize()
  }

  #resize(): void {
    const length = this.#lengthBytes
    this.give((native, id, rank) => native.request(kResize, id, rank, this.mapped.handle, 0, length))
  }

  /** Windows makes no file shorter that is mapped: it is unmapped first, and nobody may be looking. */
  #startAlone(): void {
    for (const mapped of this.#earlier) mapped.checkUnused('ftruncate')
    this.mapped.retire('ftruncate')
    const unmapped = Promise.allSettled([...this.#earlier].map(mapped => mapped.close()))
    void unmapped.then(() => {
      try {
        this.asker.signal?.throwIfAborted()
        this.#resize()
      } catch (error) {
        this.mapped.unretire()
        this.leave()
        this.fail(error)
        this.end()
      }
    })
  }

  protected complete(result: number, value: unknown): void {
    // Where it could not be made shorter on Windows it is mapped again, as long as it was.
    if (value !== undefined) this.#swap(new Mapped(value as Handle, this.mapped.path))
    else this.mapped.unretire()
    if (result === 0) {
      this.aborted = false
      this.succeed()
    } else if (result === notAtEnd) {
      const message = 'Only a mapping that reaches to the end of its file can be resized'
      this.fail(coded(Error, 'ERR_INVALID_STATE', message))
    } else this.fail(this.error(result, 'ftruncate'))
    this.end()
  }
}
