import type { Disk } from './disk.ts'
import { errnoOf, fileClosed, reportUncaught } from './error.ts'
import { type Abortable, follow, unfollow } from './follow-signal.ts'
import { LaneEntry, lane, maxPieceBytes, maxUrgentPieceBytes } from './lane.ts'
import type { Link } from './linked-list.ts'
import type { Asker, Caller } from './priority.ts'
import { askerOf, deliver, rankOf } from './priority.ts'
import { rejectLocated } from './promised.ts'
import { setTimeout } from './timers.ts'

const EAGAIN = errnoOf('EAGAIN')
const EINTR = errnoOf('EINTR')
/** The pause before the OS, short of something, is asked again. */
const pauseMs = 1

/**
 * What every disk operation shares: the way from its caller through the lane to the OS and back, and its abort.
 *
 *     begin ─► lane ─► start ─► (the OS) ─► leave ─► again through the lane, or
 *                                                    succeed / fail ─► the caller's turn ─► the promise
 *
 * A subclass makes the system calls: it says what `start` hands to the OS, and what follows when the OS is done.
 */
export abstract class Operation<T> extends LaneEntry {
  readonly asker: Asker
  /** What `promised` gave to the caller; undefined if the outcome goes to callbacks. */
  promise: Promise<T> | undefined = undefined
  readonly #resolve: (value: T) => void
  readonly #reject: (reason: unknown) => void
  #aborted = false
  /** A failure is an error that was made for this operation: its stack may be written anew. */
  #outcome: 'open' | 'value' | 'error' | 'failure' | 'settled' = 'open'
  #result: unknown = undefined
  #heldBytes = 0
  #following: Link<Abortable> | undefined = undefined

  /** @throws what `askerOf` throws */
  constructor(caller: Caller, resolve: (value: T) => void, reject: (reason: unknown) => void) {
    super()
    this.asker = askerOf(caller)
    this.#resolve = resolve
    this.#reject = reject
  }

  /** Asks the OS to stop what `start` gave it, where it can. The completion still comes. */
  protected abstract stop(): void

  /** The library owns the buffer: an abort rejects before the OS is done with it. */
  protected abstract readonly ownsBuffer: boolean

  /** Gives back what the operation holds. Runs here when it ends while the OS has nothing of it. */
  abstract end(): void

  /**
   * The signal has aborted, or the caller's own code has thrown: whatever the OS answers, the outcome is the signal's
   * reason, or what was thrown.
   */
  get aborted(): boolean {
    return this.#aborted || this.asker.fault !== undefined
  }

  /**
   * The operation is one on an open file or a mapping: it is on its disk's account.
   * @throws EBADF: it has been closed
   */
  use(inUse: InUse, syscall: string): void {
    inUse.enter(syscall)
    this.disk = inUse.disk
  }

  /** Enters the lane with a first piece of `bytes`, unless the caller's signal has aborted already. */
  begin(bytes: number): this {
    const { signal } = this.asker
    if (signal?.aborted) this.#aborted = true
    if (this.aborted) {
      this.fail(undefined)
      this.end()
    } else {
      if (signal !== undefined) this.#following = follow(signal, this)
      this.enter(bytes)
    }
    return this
  }

  /** The most that the next piece may transfer. */
  protected get maxBytes(): number {
    return rankOf(this.asker.priority) >= 2 ? maxPieceBytes : maxUrgentPieceBytes
  }

  /** Asks for the next piece. */
  enter(bytes: number): void {
    this.bytes = bytes
    lane.enter(this)
  }

  /** The OS is done with the piece. */
  leave(): void {
    lane.leave(this)
  }

  /** There was no memory for the buffer, or the buffer was detached while it waited. */
  override notStarted(error: unknown): void {
    this.fail(error)
    this.end()
  }

  /**
   * Tries again after EINTR at once, after EAGAIN (the OS is short of something) a moment later. An abort meanwhile
   * ends the operation.
   * @param result what the call returned, or a negative errno
   * @returns whether `again` runs
   */
  protected retry(result: number, again: () => void): boolean {
    if (this.aborted || (result !== EINTR && result !== EAGAIN)) return false
    if (result === EINTR) again()
    else setTimeout(() => (this.aborted ? this.#giveUp() : again()), pauseMs)
    return true
  }

  #giveUp(): void {
    this.leave()
    this.fail(undefined)
    this.end()
  }

  /** @param ownedBytes the library's memory that the value holds until it is delivered */
  succeed(value: T, ownedBytes = 0): void {
    if (this.#outcome !== 'open') return
    if (this.aborted) {
      this.fail(undefined)
      return
    }
    if (ownedBytes > 0 && rankOf(this.asker.priority) >= 2) {
      this.#heldBytes = ownedBytes
      lane.hold(ownedBytes, this.asker)
    }
    this.#decide('value', value)
  }

  /** Resolves even if the signal has aborted: a change to a file cannot be undone. */
  commit(value: T): void {
    if (this.#outcome === 'open') this.#decide('value', value)
  }

  fail(error: unknown): void {
    if (this.#outcome !== 'open') return
    const { signal, fault } = this.asker
    if (this.#aborted) this.#decide('error', signal!.reason)
    else if (fault !== undefined) this.#decide('error', fault.error)
    else this.#decide('failure', error)
  }

  /** @internal */
  abort(): void {
    this.#aborted = true
    if (lane.withdraw(this)) {
      this.fail(undefined)
      this.end()
      return
    }
    lane.giveUp(this)
    if (this.ownsBuffer) this.fail(undefined)
    this.stop()
  }

  /** Called with the outcome known. An implementation that completes many at once puts them into a batch. */
  protected handOver(): void {
    this.deliver()
  }

  /** Settles when the caller's turn comes. */
  deliver(): void {
    deliver(this.asker, settle, this)
  }

  /** Runs when the outcome has been delivered. */
  protected delivered(): void {}

  /** Resolves or rejects the promise. */
  settle(): void {
    if (this.#outcome === 'settled') return
    if (this.#heldBytes > 0) lane.release(this.#heldBytes, this.asker)
    const outcome = this.#outcome
    this.#outcome = 'settled'
    const { fault } = this.asker
    if (outcome === 'value') {
      this.#resolve(this.#result as T)
      if (fault !== undefined) reportUncaught(fault.error) // it came too late for this call to be lost
    } else if (outcome === 'failure' && this.promise !== undefined)
      rejectLocated(this.promise, this.#reject, this.#result)
    else this.#reject(this.#result)
    this.delivered()
  }

  #decide(outcome: 'value' | 'error' | 'failure', result: unknown): void {
    this.#outcome = outcome
    this.#result = result
    if (this.#following !== undefined) unfollow(this.asker.signal!, this.#following)
    this.handOver()
  }
}

/**
 * Counts the operations on something that can be closed: an open file, a mapping. Closing refuses new ones at once and
 * waits for those under way: an fd that is closed under an operation may be somebody else's a moment later.
 */
export class InUse {
  /** The account that its operations are on; undefined: that of calls by path. */
  readonly disk: Disk<LaneEntry> | undefined
  readonly #path: string | Buffer | undefined
  #count = 0
  #closed: Promise<void> | undefined = undefined
  #idle: (() => void) | undefined = undefined

  /** @param path for errors */
  constructor(path?: string | Buffer, disk?: Disk<LaneEntry>) {
    this.#path = path
    this.disk = disk
  }

  /** @throws EBADF, as a closed FileHandle does */
  enter(syscall: string): void {
    if (this.#closed !== undefined) throw fileClosed(syscall, this.#path)
    this.#count++
  }

  /** How many operations are under way. */
  get count(): number {
    return this.#count
  }

  leave(): void {
    if (--this.#count === 0) this.#idle?.()
  }

  /** Idempotent: `finish` runs once, when nothing is under way. */
  close(finish: () => Promise<void>): Promise<void> {
    this.#closed ??= (
      this.#count === 0
        ? Promise.resolve()
        : new Promise<void>(resolve => {
            this.#idle = resolve
          })
    ).then(finish)
    return this.#closed
  }
}

function settle(operation: { settle(): void }): void {
  operation.settle()
}

/** Something that knows the promise that it settles. */
export interface Promised {
  promise: Promise<unknown> | undefined
}

/**
 * A promise of what `begin` begins. An error of the OS names who awaits it: see `rejectLocated`.
 * @param begin throws what is wrong with the arguments: the promise rejects with it
 */
export function promised<T>(
  begin: (resolve: (value: T) => void, reject: (reason: unknown) => void) => Promised,
): Promise<T> {
  let begun: Promised | undefined
  const promise = new Promise<T>((resolve, reject) => {
    begun = begin(resolve, reject)
  })
  if (begun !== undefined) begun.promise = promise
  return promise
}
