import { errnoOf, fileClosed, reportUncaught } from './error.ts'
import { type Abortable, follow, unfollow } from './follow-signal.ts'
import { LaneEntry, lane, maxPieceBytes, maxUrgentPieceBytes } from './lane.ts'
import type { Link } from './linked-list.ts'
import { type Asker, askerOf, type Caller, deliver, type Rank, rankOf } from './priority.ts'
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
  /** The signal aborted: whatever the OS answers, the outcome is the signal's reason. */
  aborted = false
  readonly #resolve: (value: T) => void
  readonly #reject: (reason: unknown) => void
  #outcome: 'open' | 'value' | 'error' | 'settled' = 'open'
  #result: unknown = undefined
  #heldBytes = 0
  #heldRank: Rank = 3
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

  /** Enters the lane with a first piece of `bytes`, unless the caller's signal has aborted already. */
  begin(bytes: number): void {
    const signal = this.asker.signal
    if (signal !== undefined) {
      if (signal.aborted) {
        this.aborted = true
        this.fail(undefined)
        this.end()
        return
      }
      this.#following = follow(signal, this)
    }
    this.enter(bytes)
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
    this.#outcome = 'value'
    this.#result = value
    const rank = rankOf(this.asker.priority)
    if (ownedBytes > 0 && rank >= 2) {
      this.#heldBytes = ownedBytes
      this.#heldRank = rank
      lane.hold(ownedBytes, rank)
    }
    this.#decided()
  }

  /** Resolves even if the signal has aborted: a change to a file cannot be undone. */
  commit(value: T): void {
    this.aborted = false
    this.succeed(value)
  }

  fail(error: unknown): void {
    if (this.#outcome !== 'open') return
    this.#outcome = 'error'
    this.#result = this.aborted ? this.asker.signal!.reason : error
    this.#decided()
  }

  /** @internal */
  abort(): void {
    this.aborted = true
    if (lane.withdraw(this)) {
      this.fail(undefined)
      this.end()
      return
    }
    if (this.ownsBuffer) this.fail(undefined)
    this.stop()
  }

  /** Called with the outcome known. An implementation that completes many at once puts them into a batch. */
  protected handOver(): void {
    this.deliver()
  }

  /** Settles when the caller's turn comes. */
  deliver(): void {
    try {
      deliver(this.asker, settle, this)
    } catch (error) {
      // The asker's own deliver has thrown: an uncaught exception, but this promise and the others still settle.
      reportUncaught(error)
      this.settle()
    }
  }

  /** Runs when the outcome has been delivered. */
  protected delivered(): void {}

  /** Resolves or rejects the promise. */
  settle(): void {
    if (this.#outcome === 'settled') return
    if (this.#heldBytes > 0) lane.release(this.#heldBytes, this.#heldRank)
    const outcome = this.#outcome
    this.#outcome = 'settled'
    if (outcome === 'value') this.#resolve(this.#result as T)
    else this.#reject(this.#result)
    this.delivered()
  }

  #decided(): void {
    if (this.#following !== undefined) unfollow(this.asker.signal!, this.#following)
    this.handOver()
  }
}

/**
 * Counts the operations on something that can be closed: an open file, a mapping. Closing refuses new ones at once and
 * waits for those under way: an fd that is closed under an operation may be somebody else's a moment later.
 */
export class InUse {
  #count = 0
  #closed: Promise<void> | undefined = undefined
  #idle: (() => void) | undefined = undefined

  /** @throws EBADF, as a closed FileHandle does */
  enter(syscall: string): void {
    if (this.#closed !== undefined) throw fileClosed(syscall)
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
