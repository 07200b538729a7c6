import { constants } from 'node:fs'
import { toNamespacedPath } from 'node:path'
import type { Caller } from '@kiruna/priority'
import { coded, errnoOf, outOfRange, systemError } from '@kiruna/priority/error'
import { lane, maxPieceBytes } from '@kiruna/priority/lane'
import { isWindows } from '@kiruna/priority/system'
import { Mapped, type Stoppable, unmapRank } from './mapped.ts'
import type { Handle } from './native.ts'
import { kind, outcome, ThreadOperation } from './thread.ts'

const { S_IFMT, S_IFDIR, S_IFIFO, S_IFREG, S_IFSOCK } = constants

type Resolve<T> = (value: T) => void
type Reject = (reason: unknown) => void

const ENODEV = errnoOf('ENODEV')

/** The largest piece of a prefault below user-blocking: one step of the native thread, step.cc's kPrefaultStep. */
const prefaultPieceBytes = 2 * 1024 * 1024
/** The same at user-blocking or above: several steps. */
const urgentPrefaultPieceBytes = 8 * prefaultPieceBytes
/** A read of up to this is tried at once: to copy cached bytes takes less time than to wake a thread. */
const maxCachedBytes = 64 * 1024

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
      if (result === 0) this.native.request(kind.unmap, 0, unmapRank, value as Handle, 0, 0)
    } else if (result !== 0) this.fail(this.#error(result, value as [string, number]))
    else this.succeed(new Mapped(value as Handle, this.#path))
  }

  #error(result: number, [syscall, sizeOrMode]: [syscall: string, sizeOrMode: number]): Error {
    if (result === outcome.beyondEnd) return this.#beyondEnd(sizeOrMode)
    const error = systemError(result, syscall, this.#path)
    if (result !== ENODEV) return error
    return Object.assign(new Error(`${error.message}: ${alternativeFor(sizeOrMode)}`), { ...error })
  }

  #beyondEnd(fileBytes: number): Error {
    if (this.#offsetBytes > fileBytes) {
      return outOfRange('options.offsetBytes', `at most ${fileBytes}, the file's length`, this.#offsetBytes)
    }
    const maxBytes = fileBytes - this.#offsetBytes
    return outOfRange('options.lengthBytes', `at most ${maxBytes}, to the end of the file`, this.#lengthBytes)
  }

  end(): void {}
}

/** A path in the system's form, with a zero at its end: on Windows in UTF-16, of any length. */
function terminated(path: string | Buffer): Buffer {
  if (isWindows) return Buffer.from(`${toNamespacedPath(String(path))}\0`, 'utf16le')
  return Buffer.concat([Buffer.from(path), Buffer.alloc(1)])
}

/** Why it cannot be mapped, and how to read it. */
function alternativeFor(mode: number): string {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return 'a folder has no bytes to map, seek.readdir lists it'
    case S_IFIFO:
      return 'a pipe cannot be mapped, stream.read reads it'
    case S_IFSOCK:
      return 'a socket cannot be mapped, connect to it'
    case S_IFREG:
      return 'what is made up as it is read cannot be mapped, seek.readAll reads it'
    default:
      return 'a device cannot be mapped, stream.read reads it'
  }
}

/** An operation on a mapping, which does not close before `end`. */
abstract class MappedOperation<T> extends ThreadOperation<T> {
  protected abstract readonly syscall: string
  protected readonly mapped: Mapped

  constructor(mapped: Mapped, caller: Caller, resolve: Resolve<T>, reject: Reject) {
    super(caller, resolve, reject)
    this.mapped = mapped
  }

  run(): void {
    this.mapped.enter(this.syscall)
    this.begin(0)
  }

  end(): void {
    this.mapped.inUse.leave()
  }
}

/** An operation that goes through the lane piece by piece. */
abstract class PieceByPiece<T> extends MappedOperation<T> {
  protected readonly ownsBuffer = true
  #offsetBytes: number
  #leftBytes: number

  constructor(
    mapped: Mapped,
    offsetBytes: number,
    lengthBytes: number,
    caller: Caller,
    resolve: Resolve<T>,
    reject: Reject,
  ) {
    super(mapped, caller, resolve, reject)
    this.#offsetBytes = offsetBytes
    this.#leftBytes = lengthBytes
  }

  protected abstract succeedWithAll(): void

  override run(): void {
    this.mapped.enter(this.syscall)
    if (this.#leftBytes > 0 || this.asker.signal?.aborted) this.begin(this.#laneBytes)
    else this.complete(0)
  }

  get #laneBytes(): number {
    return Math.min(this.#leftBytes, maxPieceBytes)
  }

  protected nextPiece(maxBytes: number): { offset: number; length: number } {
    const offset = this.#offsetBytes
    const length = Math.min(this.#leftBytes, maxBytes)
    this.#offsetBytes += length
    this.#leftBytes -= length
    return { offset, length }
  }

  /** The piece under way is the last. */
  protected dropRest(): void {
    this.#leftBytes = 0
  }

  protected complete(result: number): void {
    if (result === 0 && this.#leftBytes > 0 && !this.aborted) {
      this.isContinuation = true
      this.enter(this.#laneBytes)
      return
    }
    if (result === 0) this.succeedWithAll()
    else this.fail(this.mapped.error(result, this.syscall))
    this.end()
  }
}

/**
 * The kernel reads no more than its window ahead of a populating thread. So the lane counts a piece, however long it
 * is, as no more than `maxPieceBytes`.
 * @see madvise(2), MADV_POPULATE_READ
 */
export class Prefault extends PieceByPiece<void> implements Stoppable {
  protected readonly syscall = 'madvise'

  override begin(bytes: number): this {
    this.mapped.stoppable.add(this)
    return super.begin(bytes)
  }

  start(): void {
    const maxBytes = this.laneRank >= 2 ? prefaultPieceBytes : urgentPrefaultPieceBytes
    const { offset, length } = this.nextPiece(maxBytes)
    this.give((native, id, rank) =>
      native.request(kind.prefault, id, rank, this.mapped.handle, offset, length),
    )
  }

  protected succeedWithAll(): void {
    this.succeed()
  }

  stopFor(error: Error): void {
    this.dropRest()
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
export class Read extends PieceByPiece<Buffer> {
  protected readonly syscall = 'read'
  readonly #lengthBytes: number
  #bytes: Buffer | undefined = undefined
  #doneBytes = 0

  constructor(
    mapped: Mapped,
    offsetBytes: number,
    lengthBytes: number,
    caller: Caller,
    resolve: Resolve<Buffer>,
    reject: Reject,
  ) {
    super(mapped, offsetBytes, lengthBytes, caller, resolve, reject)
    this.#lengthBytes = lengthBytes
  }

  start(): void {
    this.#bytes ??= Buffer.allocUnsafeSlow(this.#lengthBytes)
    const { handle } = this.mapped
    const { offset, length } = this.nextPiece(this.maxBytes)
    const into = this.#bytes.subarray(this.#doneBytes)
    this.#doneBytes += length
    if (length <= maxCachedBytes && this.native.readCached(handle, offset, length, into)) {
      this.leave()
      this.complete(0)
    } else {
      this.give((native, id, rank) => native.request(kind.read, id, rank, handle, offset, length, into))
    }
  }

  protected succeedWithAll(): void {
    this.succeed(this.#bytes ?? Buffer.alloc(0), this.#lengthBytes)
  }
}

/** @see msync(2) */
export class Sync extends MappedOperation<void> {
  protected readonly syscall = 'msync'
  protected readonly ownsBuffer = false // an abort waits for the outcome

  start(): void {
    this.give((native, id, rank) => native.request(kind.sync, id, rank, this.mapped.handle, 0, 0))
  }

  protected complete(result: number): void {
    if (result === 0) this.commit()
    else this.fail(this.mapped.error(result, this.syscall))
    this.end()
  }
}

/** @see ftruncate(2), fallocate(2) */
export class Resize extends MappedOperation<void> {
  protected readonly syscall = 'ftruncate'
  protected readonly ownsBuffer = false
  readonly #lengthBytes: number
  readonly #earlier: ReadonlySet<Mapped>
  readonly #swap: (mapped: Mapped) => void

  /**
   * @param earlier pages from before other resizes, which are being unmapped
   * @param swap takes the new pages, before anything that waits for the operation goes on
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
    this.give((native, id, rank) => native.request(kind.resize, id, rank, this.mapped.handle, 0, length))
  }

  /** Windows does not truncate a mapped file: it is unmapped first, which needs it to be unused. */
  #startAlone(): void {
    for (const mapped of this.#earlier) mapped.checkUnused(this.syscall)
    this.mapped.retire(this.syscall)
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
    // If it could not be truncated on Windows, it has been mapped again with its old length.
    if (value !== undefined) this.#swap(new Mapped(value as Handle, this.mapped.path))
    else this.mapped.unretire()
    if (result === 0) this.commit()
    else if (result === outcome.notAtEnd) {
      const message = 'Only a mapping that reaches to the end of its file can be resized'
      this.fail(coded(Error, 'ERR_INVALID_STATE', message))
    } else this.fail(this.mapped.error(result, this.syscall))
    this.end()
  }
}
