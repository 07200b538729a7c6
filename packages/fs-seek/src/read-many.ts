import { type Asker, askerOf, type Caller, limit } from '@kiruna/priority'
import { checkInteger, ownOptions, type PathLike } from '@kiruna/priority/arguments'
import { type ErrnoException, invalidType, largestFileBytes } from '@kiruna/priority/error'
import type { Promised } from '@kiruna/priority/operation'

export interface ReadManyOptions {
  /** About how many bytes may be in flight or read and not yet taken; 16 MiB by default. One file may be larger. */
  bufferedBytes?: number
  /** A larger file is an ERR_FS_FILE_TOO_LARGE result; 2 GiB by default, as for readAll. */
  maxFileBytes?: number
}

export type ReadResult =
  | { path: PathLike; bytes: Buffer; error?: undefined }
  | { path: PathLike; bytes?: undefined; error: ErrnoException }

/** A pair's readAll with callbacks: a promise for each file would cost as much as reading the file. */
export type ReadUpTo = (
  maxBytes: number,
  path: PathLike,
  caller: Caller,
  resolve: (bytes: Buffer) => void,
  reject: (reason: unknown) => void,
) => Promised

/** Enough to keep an NVMe device busy; below user-blocking the lane admits fewer. */
const readsAtOnce = 64
/** Counted for each result beside its bytes: an empty file or an error is not free. */
const resultOverheadBytes = 1024

/**
 * Many files, in the order in which they complete; a file that cannot be read is a result with an `error`.
 * Leaving the loop cancels the reads in flight. An abort of the caller's signal rejects with its reason.
 * @throws TypeError, RangeError: bad arguments, at once
 */
export function readMany(
  readUpTo: ReadUpTo,
  paths: Iterable<PathLike> | AsyncIterable<PathLike>,
  caller: Caller,
  options?: ReadManyOptions,
): AsyncIterableIterator<ReadResult, undefined, undefined> {
  const { bufferedBytes = 16 * 1024 * 1024, maxFileBytes = largestFileBytes } = ownOptions(options)
  checkInteger(bufferedBytes, 'bufferedBytes', 1)
  checkInteger(maxFileBytes, 'maxFileBytes')
  return new Reads(readUpTo, sourceOf(paths), askerOf(caller), bufferedBytes, maxFileBytes)
}

type Source = Iterator<PathLike> | AsyncIterator<PathLike>

function sourceOf(paths: Iterable<PathLike> | AsyncIterable<PathLike>): Source {
  // A string is iterable too, letter by letter, but nobody means that.
  if (typeof paths === 'object' && paths !== null) {
    if (Symbol.asyncIterator in paths) return paths[Symbol.asyncIterator]()
    if (Symbol.iterator in paths) return paths[Symbol.iterator]()
  }
  throw invalidType('paths', 'an iterable of paths', paths)
}

type Step = IteratorResult<ReadResult, undefined>

interface Waiter {
  resolve(step: Step): void
  reject(reason: unknown): void
}

class Reads implements AsyncIterableIterator<ReadResult, undefined, undefined> {
  readonly #readUpTo: ReadUpTo
  readonly #source: Source
  readonly #asker: Asker
  readonly #ours: Asker
  readonly #cancellation = new AbortController()
  readonly #bufferedBytes: number
  readonly #maxFileBytes: number
  /** Completed and not yet taken. */
  readonly #results: ReadResult[] = []
  #resultBytes = 0
  readonly #waiters: Waiter[] = []
  #underWay = 0
  #meanBytes: number
  #begun = false
  #pulling = false
  /** There are no more paths. */
  #ended = false
  #failure: { reason: unknown } | undefined = undefined

  constructor(readUpTo: ReadUpTo, source: Source, asker: Asker, bufferedBytes: number, maxFileBytes: number) {
    this.#readUpTo = readUpTo
    this.#source = source
    this.#asker = asker
    this.#ours = limit(asker, { signal: this.#cancellation.signal })
    this.#bufferedBytes = bufferedBytes
    this.#maxFileBytes = maxFileBytes
    this.#meanBytes = bufferedBytes / 4 // before sizes are known, few at once
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Step> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      if (!this.#begun) this.#begin()
      this.#serve()
      void this.#pull()
    })
  }

  async return(): Promise<Step> {
    this.#stop(undefined)
    // A source that is fetching its next path closes once it has it. That may take long, so it is not awaited.
    if (this.#pulling) this.#closeSource().catch(ignored)
    else await this.#closeSource()
    return { done: true, value: undefined }
  }

  async #closeSource(): Promise<void> {
    await this.#source.return?.()
  }

  #begin(): void {
    this.#begun = true
    const { signal } = this.#asker
    if (signal?.aborted) this.#abort()
    else
      signal?.addEventListener('abort', () => this.#abort(), {
        once: true,
        signal: this.#cancellation.signal,
      })
  }

  #abort(): void {
    this.#stop({ reason: this.#asker.signal!.reason })
    this.#closeSource().catch(ignored) // after an error a loop does not call `return`
  }

  /** Takes paths while there is room for what they may hold. */
  async #pull(): Promise<void> {
    if (this.#pulling) return
    this.#pulling = true
    try {
      while (!this.#ended && this.#hasRoom()) {
        const next = this.#source.next()
        // A synchronous step is not awaited, which would cost a turn. A thenable or another realm's promise is.
        const step = 'then' in next ? await next : next
        if (this.#ended) break
        if (step.done) this.#ended = true
        else this.#read(step.value)
      }
    } catch (reason) {
      this.#stop({ reason })
    }
    this.#pulling = false
    this.#serve()
  }

  #hasRoom(): boolean {
    if (this.#underWay === 0 && this.#results.length === 0) return true
    const expectedBytes = this.#resultBytes + (this.#underWay + 1) * this.#meanBytes
    return this.#underWay < readsAtOnce && expectedBytes <= this.#bufferedBytes
  }

  #read(path: PathLike): void {
    this.#underWay++
    const failed = (error: unknown) => this.#completed({ path, error: error as ErrnoException }, 0)
    try {
      this.#readUpTo(
        this.#maxFileBytes,
        path,
        this.#ours,
        bytes => this.#completed({ path, bytes }, bytes.length),
        failed,
      )
    } catch (error) {
      failed(error)
    }
  }

  #completed(result: ReadResult, bytes: number): void {
    this.#underWay--
    this.#meanBytes += (bytes + resultOverheadBytes - this.#meanBytes) / 8
    if (this.#cancellation.signal.aborted) return
    this.#results.push(result)
    this.#resultBytes += bytes + resultOverheadBytes
    this.#serve()
    void this.#pull()
  }

  /** Cancels the reads in flight, and settles the calls of `next` that wait. */
  #stop(failure: { reason: unknown } | undefined): void {
    if (this.#cancellation.signal.aborted) return
    this.#ended = true
    this.#failure = failure
    this.#results.length = 0
    this.#resultBytes = 0
    this.#cancellation.abort()
    this.#serve()
  }

  /** Gives results to the calls of `next` that wait. */
  #serve(): void {
    while (this.#waiters.length > 0) {
      const value = this.#results.shift()
      if (value !== undefined) {
        this.#resultBytes -= (value.bytes?.length ?? 0) + resultOverheadBytes
        this.#waiters.shift()!.resolve({ done: false, value })
      } else if (this.#failure !== undefined) {
        const { reason } = this.#failure
        this.#failure = undefined // thrown once, as by a generator
        this.#waiters.shift()!.reject(reason)
      } else if (
        this.#cancellation.signal.aborted ||
        (this.#ended && this.#underWay === 0 && !this.#pulling)
      ) {
        this.#cancellation.abort() // removes the listener on the caller's signal
        this.#waiters.shift()!.resolve({ done: true, value: undefined })
      } else return
    }
  }
}

const ignored = () => {}
