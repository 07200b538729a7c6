import * as fs from 'node:fs'
import type { Caller } from '@kiruna/priority'
import { Batch } from '@kiruna/priority/batch'
import { systemError } from '@kiruna/priority/error'
import { type InUse, Operation, promised } from '@kiruna/priority/operation'
import { setImmediate } from '@kiruna/priority/timers'

export type Failure = NodeJS.ErrnoException | null
/** A callback of node:fs. */
export type Done<T> = (error: Failure, value: T) => void

/** What has completed in this turn of the event loop. */
const batch = new Batch()

/**
 * A disk operation on libuv's thread pool: it goes through the lane, and settles with its batch.
 *
 *     pool thread ─► node:fs's callback, one by one ─► batch ─► setImmediate: settled, most urgent first
 *
 * The check phase follows the poll phase, in which libuv makes all the callbacks of a turn.
 * @see https://docs.libuv.org/en/v1.x/design.html
 */
export abstract class PoolOperation<T> extends Operation<T> {
  override pooled = true

  /** A system call on a pool thread cannot be cancelled. */
  protected stop(): void {}

  protected override handOver(): void {
    if (this.aborted) {
      this.deliver()
      return
    }
    const isFirst = batch.isEmpty
    batch.add(this)
    if (isFirst) setImmediate(() => batch.deliver())
  }
}

/** What a call is made on, and what its errors say. */
interface About {
  /** For errors, where node:fs knows only a descriptor. */
  path: string | Buffer | undefined
  /** The call changes the file: once begun, it has the outcome that the OS gives it. */
  changes?: boolean
  /** The open file's, which the caller has entered: the file does not close before the call is done. */
  inUse?: InUse | undefined
}

/** An operation that is one call of node:fs. */
export class PoolCall<T> extends PoolOperation<T> {
  protected readonly ownsBuffer: boolean
  readonly #call: (done: Done<T>) => void
  readonly #about: About

  constructor(
    call: (done: Done<T>) => void,
    about: About,
    caller: Caller,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    super(caller, resolve, reject)
    this.#call = call
    this.#about = about
    this.ownsBuffer = about.changes !== true
  }

  start(): void {
    this.#call((error, value) => {
      this.leave()
      if (error !== null) {
        if (this.retry(error.errno!, () => this.enter(0))) return
        this.fail(withPath(error, this.#about.path))
      } else if (this.#about.changes) this.commit(value)
      else this.succeed(value)
      this.end()
    })
  }

  end(): void {
    this.#about.inUse?.leave()
  }
}

/** Makes one call of node:fs through the lane. */
export function pooled<T>(call: (done: Done<T>) => void, about: About, caller: Caller): Promise<T> {
  return promised((resolve, reject) => new PoolCall(call, about, caller, resolve, reject).begin(0))
}

/** Closes an fd, outside of the lane. @see close(2) */
export function close(fd: number, path: string | Buffer | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, error => (error ? reject(withPath(error, path)) : resolve()))
  })
}

/** Adds the path to an error, which has none if node:fs knows only a descriptor. */
export function withPath(error: NodeJS.ErrnoException, path: string | Buffer | undefined): Error {
  if (path === undefined || error.path !== undefined || error.errno === undefined) return error
  return systemError(error.errno, error.syscall!, path)
}
