import { type Priority, priorities, type Rank, rankOf } from '@kiruna/priority'
import { reportUncaught } from '@kiruna/priority/error'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import type { RunLoop } from './run-loop.ts'
import { Turns } from './turns.ts'

/**
 * A task's place in the tree of tasks: how urgent it is there, and whether it is paused. A chain of tasks may be longer
 * than the stack, so each walk of the tree is a loop.
 */
export abstract class Branch extends Turns {
  protected readonly parent: this | undefined
  readonly #siblings: LinkedList<Branch> | undefined
  readonly #siblingLink: Link<Branch> | undefined
  #children: LinkedList<Branch> | undefined = undefined
  /** Its own priority; undefined: it follows its parent's. */
  #ownRank: Rank | undefined
  /** How many boosts there are to each rank. */
  #boosts: number[] | undefined = undefined
  #pauses = 0
  /** It is paused, or one that it is a child of. What is stopped is not paused any more. */
  #isPaused = false
  #listeners: Set<() => void> | undefined = undefined

  constructor(loop: RunLoop, parent: Branch | undefined, own: Rank | undefined, dueMs: number) {
    super(loop, own ?? parent!.rank, dueMs)
    this.parent = parent as this | undefined
    this.#ownRank = own
    if (parent === undefined) return
    this.#isPaused = parent.#isPaused
    this.#siblings = parent.#children ??= new LinkedList()
    this.#siblingLink = this.#siblings.add(this)
  }

  /** Nothing new of it begins, and a pause does not hold it any more. */
  protected abstract readonly isStopped: boolean

  get priority(): Priority {
    return priorities[this.rank]!
  }

  set priority(priority: Priority) {
    this.#ownRank = rankOf(priority)
    this.#reprioritize()
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
    this.#updatePaused()
    return once(() => {
      this.#pauses--
      this.#updatePaused()
    })
  }

  onPriorityChange(listener: () => void): () => void {
    this.#listeners ??= new Set()
    const listeners = this.#listeners
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  protected get hasChildren(): boolean {
    return this.#children?.first !== undefined
  }

  /** Leaves its parent. */
  protected leaveTree(): void {
    this.#siblings?.remove(this.#siblingLink!)
  }

  /**
   * This and what is below it, each before its children.
   * @param enter whether one and its children belong to the walk
   */
  protected *down(enter: (one: this) => boolean): Generator<this, void, undefined> {
    const stack: this[] = [this]
    for (let one = stack.pop(); one !== undefined; one = stack.pop()) {
      if (!enter(one)) continue
      yield one
      const children = [...(one.#children ?? [])] as this[]
      for (let child = children.pop(); child !== undefined; child = children.pop()) stack.push(child)
    }
  }

  /** It has been stopped. */
  protected endPause(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.requeue()
  }

  protected isPaused(): boolean {
    return this.#isPaused
  }

  #reprioritize(): void {
    let rank = this.#ownRank ?? this.parent!.rank
    const boosted = this.#boosts?.findIndex(count => count > 0) ?? -1
    if (boosted !== -1 && boosted < rank) rank = boosted as Rank
    if (rank === this.rank) return
    this.moveTo(rank)
    for (const listener of [...(this.#listeners ?? [])].reverse()) untold.push(listener)
    for (const child of [...(this.#children ?? [])].reverse()) untold.push(child)
    if (!isTelling) Branch.tell()
  }

  /** Those who do not know yet that a rank has changed hear of it, children before listeners. */
  private static tell(): void {
    isTelling = true
    for (let next = untold.pop(); next !== undefined; next = untold.pop()) {
      if (next instanceof Branch) {
        next.#reprioritize()
        continue
      }
      try {
        next()
      } catch (error) {
        reportUncaught(error)
      }
    }
    isTelling = false
  }

  /** While a task is paused, none of its turns or its children's is queued. */
  #updatePaused(): void {
    for (const one of this.down(one => one.#takesPause())) {
      if (one.#isPaused) one.unqueue()
      else one.requeue()
    }
  }

  /** Returns false if it is as before. */
  #takesPause(): boolean {
    const isBelowPaused = this.parent === undefined ? false : this.parent.#isPaused
    const isPaused = !this.isStopped && (this.#pauses > 0 || isBelowPaused)
    if (isPaused === this.#isPaused) return false
    this.#isPaused = isPaused
    return true
  }
}

/** What is next to be told stands last: a listener may change other ranks. */
const untold: (Branch | (() => void))[] = []
let isTelling = false

function once(dispose: () => void): Disposable {
  let disposed = false
  return {
    [Symbol.dispose]() {
      if (!disposed) dispose()
      disposed = true
    },
  }
}
