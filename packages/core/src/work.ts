import { type Priority, priorities, type Rank, rankOf, trusted } from '@kiruna/priority'
import { checkSignal } from '@kiruna/priority/arguments'
import { coded, invalidType } from '@kiruna/priority/error'
import { follow, unfollow } from '@kiruna/priority/follow-signal'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import { checkTimeout } from './clock.ts'
import type { Cost } from './cost.ts'
import type { Live, RunLoop } from './run-loop.ts'
import type { ChildOptions, Scope, Task, TaskInfo } from './task.ts'
import { isRaisable, type Raisable, TaskPromise } from './task-promise.ts'
import { Turns } from './turns.ts'

/** A task from the inside: its place in the tree of tasks, and how it ends. The work sees it as its Scope. */
export class Work extends Turns implements Scope {
  readonly name: string
  readonly task: Task<unknown>
  cost: Cost
  /** Where it was spawned, if a task of its name has held the thread for too long. */
  readonly spawnedAt: Error | undefined
  readonly #spawnedMs: number
  #started = false
  readonly #parent: Work | undefined
  readonly #contained: boolean
  #resolve!: (value: unknown) => void
  #reject!: (reason: unknown) => void

  /** Its own priority; undefined: it follows its parent's. */
  #ownRank: Rank | undefined
  /** How many boosts there are to each rank. */
  #boosts: number[] | undefined = undefined
  #pauses = 0

  #children: LinkedList<Work> | undefined = undefined
  /** Its places among its siblings and among all living tasks. */
  readonly #siblingLink: Link<Work> | undefined
  readonly #liveLink: Link<Live>
  #listeners: Set<() => void> | undefined = undefined
  /** Called when the task has settled, to remove listeners from signals and callers. */
  #endings: (() => void)[] | undefined = undefined
  /** Sleeps and foreign promises that the task waits for: a stop rejects them. */
  #waits: Set<() => void> | undefined = undefined
  #controller: AbortController | undefined = undefined

  /** Set when the task is cancelled or fails: nothing new begins, and its waits reject with the reason. */
  #stopped: { reason: unknown } | undefined = undefined
  #failure: { error: unknown } | undefined = undefined
  #value: unknown = undefined
  #workEnded = false
  #settled = false

  constructor(
    loop: RunLoop,
    parent: Work | undefined,
    own: Rank | undefined,
    work: (scope: Scope) => unknown,
    options: ChildOptions,
  ) {
    if (typeof work !== 'function') throw invalidType('work', 'a function', work)
    const { name = work.name || 'task', signal, delayMs = 0, deadlineMs, contain = false } = options
    checkTimeout(delayMs, 'options.delayMs')
    if (deadlineMs !== undefined) checkTimeout(deadlineMs, 'options.deadlineMs')
    checkSignal(signal, 'options.signal')
    const spawnedMs = loop.clock.now()
    const dueMs = deadlineMs === undefined ? Number.POSITIVE_INFINITY : spawnedMs + deadlineMs
    super(loop, own ?? parent!.rank, dueMs)
    this.name = name
    this.cost = loop.costs.of(name)
    this.spawnedAt = this.cost.hasOverrun ? new Error(`'${name}' is spawned`) : undefined
    this.#spawnedMs = spawnedMs
    this.#parent = parent
    this.#contained = contain
    this.#ownRank = own
    this.task = new TaskPromise(this, (resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (parent !== undefined) {
      parent.#children ??= new LinkedList()
      this.#siblingLink = parent.#children.add(this)
      if (parent.#stopped !== undefined) this.cancel(parent.#stopped.reason)
    }
    if (signal !== undefined) this.cancelWith(signal)
    this.#liveLink = loop.live.add(this)
    const started = delayMs > 0 ? this.sleep(delayMs) : this.#nextTurn()
    // A promise, so that the work has the AsyncLocalStorage context of its spawn.
    started.then(
      () => this.#begin(work),
      error => this.#workThrew(error),
    )
  }

  /** @internal */
  get [trusted](): true {
    return true
  }

  get priority(): Priority {
    return priorities[this.rank]!
  }

  set priority(priority: Priority) {
    this.#ownRank = rankOf(priority)
    this.#reprioritize()
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#stopped !== undefined) this.#controller.abort(this.#stopped.reason)
    }
    return this.#controller.signal
  }

  yield(): Promise<void> {
    if (this.#stopped === undefined && !this.isPaused() && this.loop.mayGoOn(this.rank, this.cost))
      return resolved
    return this.#nextTurn()
  }

  shouldYield(): boolean {
    return this.isPaused() || this.loop.shouldYield(this.rank)
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      checkTimeout(ms, 'ms')
      const sleeper = { dueMs: this.loop.clock.now() + ms, place: -1, wake: () => end(resolve) }
      const end = this.#wait(reject, () => this.loop.removeSleeper(sleeper))
      this.loop.addSleeper(sleeper)
    })
  }

  run<U>(foreign: PromiseLike<U>): Promise<U> {
    return new Promise((resolve, reject) => {
      let boost: Disposable | undefined
      const raise = () => {
        const before = boost
        boost = (foreign as unknown as Raisable).boost(this.priority)
        before?.[Symbol.dispose]()
      }
      let unfollow: (() => void) | undefined
      if (isRaisable(foreign)) {
        raise()
        unfollow = this.onPriorityChange(raise)
      }
      const end = this.#wait(reject, () => {
        unfollow?.()
        boost?.[Symbol.dispose]()
      })
      // A plain value is allowed, as for `await`, and so is a thenable that throws or calls back at once.
      Promise.resolve(foreign).then(
        value => end(() => resolve(value)),
        reason => end(() => reject(reason)),
      )
    })
  }

  spawn<U>(work: (scope: Scope) => U | PromiseLike<U>, options: ChildOptions = {}): Task<U> {
    if (this.#settled) throw coded(Error, 'ERR_INVALID_STATE', `The task '${this.name}' has ended`)
    const own = options.priority === undefined ? undefined : rankOf(options.priority)
    return new Work(this.loop, this, own, work, options).task as Task<U>
  }

  onPriorityChange(listener: () => void): () => void {
    this.#listeners ??= new Set()
    const listeners = this.#listeners
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  cancel(reason: unknown = new DOMException(`The task '${this.name}' was cancelled`, 'AbortError')): void {
    this.#stop(reason)
  }

  /** Called when the signal that it follows has aborted. @internal */
  abort(reason: unknown): void {
    this.#stop(reason)
  }

  /** Follows a signal until the task is settled. */
  cancelWith(signal: AbortSignal): void {
    if (signal.aborted) this.cancel(signal.reason)
    else {
      const link = follow(signal, this)
      this.onEnd(() => unfollow(signal, link))
    }
  }

  /** Runs when the task is settled. */
  onEnd(ending: () => void): void {
    this.#endings ??= []
    this.#endings.push(ending)
  }

  boost(priority: Priority): Disposable {
    const rank = rankOf(priority)
    this.#boosts ??= [0, 0, 0, 0]
    const boosts = this.#boosts
    boosts[rank]!++
    this.#reprioritize()
    return once(() => {
      boosts[rank]!--
      this.#reprioritize()
    })
  }

  pause(): Disposable {
    this.#pauses++
    this.#withdrawTurns()
    return once(() => {
      this.#pauses--
      this.#restoreTurns()
    })
  }

  info(): TaskInfo {
    const { name, priority } = this
    return { name, priority, state: this.#state(), ageMs: this.loop.clock.now() - this.#spawnedMs }
  }

  #state(): TaskInfo['state'] {
    if (this.loop.current === this) return 'running'
    if (this.isPaused()) return 'paused'
    if (this.hasJobs) return 'queued'
    return this.#started ? 'waiting' : 'delayed'
  }

  /** Whether `error` is the reason with which the task was cancelled. */
  isOwnCancellation(error: unknown): boolean {
    return this.#stopped !== undefined && this.#failure === undefined && error === this.#stopped.reason
  }

  /** Resolves in its next turn; rejects if the task has been stopped by then. */
  #nextTurn(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.queue(() => {
        if (this.#stopped === undefined) resolve()
        else reject(this.#stopped.reason)
      })
    })
  }

  #begin(work: (scope: Scope) => unknown): void {
    this.#started = true
    try {
      const result = work(this)
      if (isThenable(result))
        Promise.resolve(result).then(
          value => this.#workReturned(value),
          error => this.#workThrew(error),
        )
      else this.#workReturned(result)
    } catch (error) {
      this.#workThrew(error)
    }
  }

  #workReturned(value: unknown): void {
    this.#value = value
    this.#workEnded = true
    this.#settleIfEnded()
  }

  #workThrew(error: unknown): void {
    const stopped = this.#stopped
    const cancelled = stopped !== undefined && (error === stopped.reason || isAbortError(error))
    if (!cancelled) this.#fail(error)
    this.#workEnded = true
    this.#settleIfEnded()
  }

  /**
   * Waits for something; a stop interrupts it. The returned function ends the wait: it calls back in a turn of the
   * task, unless the task has been stopped by then.
   */
  #wait(reject: (reason: unknown) => void, cleanUp: () => void): (callBack: () => void) => void {
    this.#waits ??= new Set()
    const waits = this.#waits
    const end = (callBack: () => void) => {
      if (!waits.delete(interrupt)) return
      cleanUp()
      this.deliver(() => {
        if (this.#stopped === undefined) callBack()
        else reject(this.#stopped.reason)
      })
    }
    const interrupt = () => end(nothing)
    waits.add(interrupt)
    if (this.#stopped !== undefined) queueMicrotask(interrupt)
    return end
  }

  #stop(reason: unknown): void {
    if (this.#stopped !== undefined || this.#settled) return
    this.#stopped = { reason }
    this.#controller?.abort(reason)
    for (const interrupt of this.#waits ?? []) interrupt()
    for (const child of this.#children ?? []) child.#stop(reason)
    this.#restoreTurns() // a stopped task is not paused any more
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#stop(error)
    if (this.#parent !== undefined && !this.#contained) this.#parent.#fail(error)
  }

  get #hasChildren(): boolean {
    return this.#children?.first !== undefined
  }

  #settleIfEnded(): void {
    if (this.#workEnded && !this.#hasChildren) {
      this.cost = this.loop.endCost
      this.deliver(() => this.#settle())
    }
  }

  #settle(): void {
    // If a child was spawned meanwhile, the last child settles this task, or has done so already.
    if (this.#settled || this.#hasChildren) return
    this.#settled = true
    this.loop.live.remove(this.#liveLink)
    const lateMs = this.dueMs < Number.POSITIVE_INFINITY ? this.loop.clock.now() - this.dueMs : 0
    if (lateMs > 0) this.loop.onMissedDeadline(this.name, this.rank, lateMs)
    const failsParent = this.#parent !== undefined && !this.#contained
    if (this.#failure !== undefined) {
      const { error } = this.#failure
      if (failsParent) this.task.catch(nothing)
      else nameTask(error, this.name)
      this.#reject(error)
    } else if (this.#stopped !== undefined) {
      this.task.catch(nothing)
      this.#reject(this.#stopped.reason)
    } else this.#resolve(this.#value)
    if (this.#parent !== undefined) {
      this.#parent.#children!.remove(this.#siblingLink!)
      this.#parent.#settleIfEnded()
    }
    for (const ending of this.#endings ?? []) ending()
  }

  #reprioritize(): void {
    let rank = this.#ownRank ?? this.#parent!.rank
    const boosted = this.#boosts?.findIndex(count => count > 0) ?? -1
    if (boosted !== -1 && boosted < rank) rank = boosted as Rank
    if (rank === this.rank) return
    this.moveTo(rank)
    for (const child of this.#children ?? []) child.#reprioritize()
    for (const listener of this.#listeners ?? []) listener()
  }

  protected isPaused(): boolean {
    if (this.#stopped !== undefined) return false
    if (this.#pauses > 0) return true
    return this.#parent === undefined ? false : this.#parent.isPaused()
  }

  #withdrawTurns(): void {
    if (!this.isPaused()) return
    this.unqueue()
    for (const child of this.#children ?? []) child.#withdrawTurns()
  }

  #restoreTurns(): void {
    if (this.isPaused()) return
    this.requeue()
    for (const child of this.#children ?? []) child.#restoreTurns()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  const mayHaveThen = (typeof value === 'object' && value !== null) || typeof value === 'function'
  return mayHaveThen && 'then' in value
}

const resolved = Promise.resolve()
const nothing = () => {}

function isAbortError(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}

/** An unhandled rejection prints its error, and so the task's name too. */
function nameTask(error: unknown, name: string): void {
  if (error instanceof Error && Object.isExtensible(error) && !('task' in error)) {
    Object.assign(error, { task: name })
  }
}

function once(dispose: () => void): Disposable {
  let disposed = false
  return {
    [Symbol.dispose]() {
      if (!disposed) dispose()
      disposed = true
    },
  }
}
