import { types } from 'node:util'
import { type Rank, rankOf, trusted } from '@kiruna/priority'
import { checkSignal, ownOptions } from '@kiruna/priority/arguments'
import { coded, invalidType } from '@kiruna/priority/error'
import { follow, unfollow } from '@kiruna/priority/follow-signal'
import type { Link } from '@kiruna/priority/linked-list'
import { queueMicrotask } from '@kiruna/priority/timers'
import { Branch } from './branch.ts'
import { checkTimeout } from './clock.ts'
import type { Cost } from './cost.ts'
import type { Live, RunLoop } from './run-loop.ts'
import type { ChildOptions, Scope, Task, TaskInfo } from './task.ts'
import { isRaisable, type Raisable, TaskPromise } from './task-promise.ts'

/** A task from the inside: its place in the tree of tasks, and how it ends. The work sees it as its Scope. */
export class Work extends Branch implements Scope {
  readonly name: string
  readonly task: Task<unknown>
  cost: Cost
  /** Where it was spawned, if a task of its name has held the thread for too long. */
  readonly spawnedAt: Error | undefined
  readonly #spawnedMs: number
  #started = false
  readonly #contained: boolean
  #resolve!: (value: unknown) => void
  #reject!: (reason: unknown) => void

  /** Its place among all living tasks. */
  readonly #liveLink: Link<Live>
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
    super(loop, parent, own, dueMs)
    this.name = name
    this.cost = loop.costs.of(name)
    this.spawnedAt = this.cost.hasOverrun ? new Error(`'${name}' is spawned`) : undefined
    this.#spawnedMs = spawnedMs
    this.#contained = contain
    this.task = new TaskPromise(this, (resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#liveLink = loop.live.add(this)
    const started = delayMs > 0 ? this.sleep(delayMs) : this.#nextTurn()
    // A promise, so that the work has the AsyncLocalStorage context of its spawn.
    started.then(
      () => this.#begin(work),
      error => this.#workThrew(error),
    )
    if (parent !== undefined && parent.#stopped !== undefined) this.cancel(parent.#stopped.reason)
    if (signal !== undefined) this.cancelWith(signal)
  }

  /** @internal */
  get [trusted](): true {
    return true
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

  spawn<U>(work: (scope: Scope) => U | PromiseLike<U>, given?: ChildOptions): Task<U> {
    const options = ownOptions(given)
    if (this.#settled) throw coded(Error, 'ERR_INVALID_STATE', `The task '${this.name}' has ended`)
    const own = options.priority === undefined ? undefined : rankOf(options.priority)
    return new Work(this.loop, this, own, work, options).task as Task<U>
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
    if (this.#settled) ending()
    else (this.#endings ??= []).push(ending)
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
    return this.#isCancelled && error === this.#stopped!.reason
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

  /** Stops it and its children. What has not begun never does, and needs no turn to settle in. */
  #stop(reason: unknown): void {
    const ended: Work[] = []
    for (const work of this.down(one => one.#beStopped(reason))) {
      if (!work.#started) work.#workEnded = true
      if (work.#workEnded) ended.push(work)
    }
    for (const work of ended) work.#settleIfEnded() // the last child settles its parent
  }

  /** Returns false if it has been stopped before. */
  #beStopped(reason: unknown): boolean {
    if (this.#stopped !== undefined || this.#settled) return false
    this.#stopped = { reason }
    this.endPause()
    this.#controller?.abort(reason)
    for (const interrupt of this.#waits ?? []) interrupt()
    return true
  }

  #fail(error: unknown): void {
    for (let work: Work | undefined = this as Work; work !== undefined; work = work.parent) {
      work.#failure ??= { error }
      work.#stop(error)
      if (work.#contained) return
    }
  }

  protected get isStopped(): boolean {
    return this.#stopped !== undefined
  }

  /** Stopped, by somebody, and not because it has failed. */
  get #isCancelled(): boolean {
    return this.#stopped !== undefined && this.#failure === undefined
  }

  /** A task that was cancelled settles at once: nobody needs its turn, which may be long in coming. */
  #settleIfEnded(): void {
    if (!this.#workEnded || this.hasChildren || this.#settled) return
    if (this.#isCancelled) this.#settle()
    else {
      this.cost = this.loop.endCost
      this.deliver(() => this.#settle())
    }
  }

  /** And with it those parents that have waited for nothing else, one after the other. */
  #settle(): void {
    let work: Work = this as Work
    while (work.#settleAlone()) {
      const parent = work.parent
      if (parent === undefined) return
      if (!parent.#isCancelled || !parent.#workEnded) {
        parent.#settleIfEnded()
        return
      }
      work = parent
    }
  }

  /** Returns false if it has settled before, or waits for a child that was spawned meanwhile. */
  #settleAlone(): boolean {
    if (this.#settled || this.hasChildren) return false
    this.#settled = true
    this.loop.live.remove(this.#liveLink)
    const lateMs = this.dueMs < Number.POSITIVE_INFINITY ? this.loop.clock.now() - this.dueMs : 0
    if (lateMs > 0) this.loop.onMissedDeadline(this.name, this.rank, lateMs)
    const failsParent = this.parent !== undefined && !this.#contained
    if (this.#failure !== undefined) {
      const { error } = this.#failure
      if (failsParent) this.task.catch(nothing)
      else nameTask(error, this.name)
      this.#reject(error)
    } else if (this.#stopped !== undefined) {
      this.task.catch(nothing)
      this.#reject(this.#stopped.reason)
    } else this.#resolve(this.#value)
    this.leaveTree()
    for (const ending of this.#endings ?? []) ending()
    return true
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  const mayHaveThen = (typeof value === 'object' && value !== null) || typeof value === 'function'
  return mayHaveThen && 'then' in value
}

const resolved = Promise.resolve()
const nothing = () => {}

function isAbortError(error: unknown): boolean {
  return (error as Error | null | undefined)?.name === 'AbortError'
}

/** An unhandled rejection prints its error, and so the task's name too. */
function nameTask(error: unknown, name: string): void {
  if (types.isNativeError(error) && Object.isExtensible(error) && !('task' in error)) {
    Object.assign(error, { task: name })
  }
}
