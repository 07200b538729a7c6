import type { TaskPriority } from './webidl.ts'

/** A scheduler task, for the queues. */
export abstract class QueuedTask {
  abstract readonly priority: TaskPriority
  abstract readonly isContinuation: boolean
  /** Enqueue order, its age: given when it is queued, after its delay. */
  order = 0
  /** Where it waits for its turn; undefined before and after. */
  list: TaskList | undefined = undefined
  previous: QueuedTask | undefined = undefined
  next: QueuedTask | undefined = undefined
  abstract run(): void
}

/**
 * Scheduler tasks of one effective priority, the oldest first. Any task can leave, and one that comes from another list
 * goes between the older and the younger ones.
 *
 *     first ─▶ 3 ⇄ 4 ⇄ 9 ⇄ 12 ◀─ last        by `order`
 */
export class TaskList {
  length = 0
  first: QueuedTask | undefined = undefined
  #last: QueuedTask | undefined = undefined
  /** Tasks that move together come oldest first: the next one's place is searched from here. */
  #lastInserted: QueuedTask | undefined = undefined

  append(task: QueuedTask): void {
    this.#link(task, this.#last)
  }

  insert(task: QueuedTask): void {
    let before = this.#lastInserted ?? this.#last
    while (before !== undefined && before.order > task.order) before = before.previous
    let after = before === undefined ? this.first : before.next
    while (after !== undefined && after.order < task.order) {
      before = after
      after = after.next
    }
    this.#link(task, before)
    this.#lastInserted = task
  }

  remove(task: QueuedTask): void {
    const { previous, next } = task
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous
    if (this.#lastInserted === task) this.#lastInserted = undefined
    task.list = task.previous = task.next = undefined
    this.length--
  }

  #link(task: QueuedTask, previous: QueuedTask | undefined): void {
    const next = previous === undefined ? this.first : previous.next
    task.list = this
    task.previous = previous
    task.next = next
    if (previous === undefined) this.first = task
    else previous.next = task
    if (next === undefined) this.#last = task
    else next.previous = task
    this.length++
  }
}
