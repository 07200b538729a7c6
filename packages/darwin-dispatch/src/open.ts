import { type Caller, rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { pathBytes } from './call.ts'
import { Close } from './close.ts'
import { ECANCELED, noReader } from './dispatch.ts'
import { DispatchOperation } from './operation.ts'

const [firstRetryMs, longestRetryMs] = [1, 50]

/**
 * open(2), which waits for nobody. A FIFO that nobody reads cannot be opened for writing like that: it is tried again.
 * @see fifo(7)
 */
export abstract class Opening<T> extends DispatchOperation<T> {
  protected readonly path: string | Buffer
  readonly #flags: number
  readonly #mode: number
  readonly #wantsStatus: boolean
  #retryMs = firstRetryMs
  #timer: NodeJS.Timeout | undefined = undefined

  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    wantsStatus: boolean,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.path = path
    this.#flags = flags
    this.#mode = mode
    this.#wantsStatus = wantsStatus
  }

  protected abstract opened(fd: number, status: Buffer | undefined): void

  start(): void {
    this.gcd.stage(this)
  }

  submit(): void {
    if (this.aborted) {
      this.complete(ECANCELED, undefined)
      return
    }
    const id = this.gcd.begin(this)
    const rank = rankOf(this.asker.priority)
    this.gcd.native.open(id, rank, pathBytes(this.path), this.#flags, this.#mode, this.#wantsStatus)
  }

  complete(result: number, status: Buffer | undefined): void {
    this.leave()
    if (this.retry(result, () => this.enter(0))) return
    if (result >= 0 && this.aborted && this.ownsBuffer) new Close(result, '')
    else if (result >= 0) this.opened(result, status)
    else if (result !== noReader) this.fail(systemError(result, 'open', this.path))
    else if (this.aborted) this.fail(undefined)
    else {
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        this.enter(0)
      }, this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
    }
  }

  protected override stop(): void {
    if (this.#timer === undefined) super.stop()
    else {
      clearTimeout(this.#timer)
      this.fail(undefined)
    }
  }

  end(): void {}
}

/** @see open(2) */
export class Open<T> extends Opening<T> {
  protected readonly ownsBuffer: boolean
  readonly #make: (fd: number) => T

  /** @param keeps an abort that comes too late does not hide the file: it has been made, or emptied */
  constructor(
    path: string | Buffer,
    flags: number,
    mode: number,
    keeps: boolean,
    make: (fd: number) => T,
    caller: Caller,
    resolve: (file: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(path, flags, mode, false, caller, resolve, reject)
    this.#make = make
    this.ownsBuffer = !keeps
  }

  protected opened(fd: number): void {
    this.commit(this.#make(fd))
  }
}
