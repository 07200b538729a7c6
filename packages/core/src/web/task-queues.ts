import { priorities, type Rank, rankOf } from '@kiruna/priority'
import { type Cost, Costed } from '../cost.ts'
import { outside } from '../outside.ts'
import type { RunLoop } from '../run-loop.ts'
import { Delays } from './delays.ts'
import { type QueuedTask, TaskList } from './task-list.ts'

/** The event loop's next enqueue order. */
let nextOrder = 1

/** A turn of one rank in the loop. The guard and overruns know it as `postTask('background')`. */
class Turn extends Costed {
  readonly cost: Cost
  readonly rank: Rank
  readonly queues: TaskQueues
  /** How many of these turns the loop's queue holds. A task that leaves before its turn leaves the turn to another. */
  queued = 0

  constructor(queues: TaskQueues, rank: Rank, cost: Cost) {
    super()
    this.queues = queues
    this.rank = rank
    this.cost = cost
  }
}

/**
 * The tasks and continuations that wait for a turn of one run loop:
 *
 *                       user-blocking   user-visible   background
 *     continuations     5               3              1
 *     tasks             4               2              0             effective priority
 *
 * Each has a turn in the loop's queue of its rank, among the jobs of others; the turn takes the oldest continuation of
 * that rank, else the oldest task.
 * @see https://wicg.github.io/scheduling-apis/#scheduler-task-queue-effective-priority
 */
export class TaskQueues {
  readonly delays: Delays
  readonly #loop: RunLoop
  readonly #continuations = [new TaskList(), new TaskList(), new TaskList(), new TaskList()] as const
  readonly #tasks = [new TaskList(), new TaskList(), new TaskList(), new TaskList()] as const
  readonly #turns: readonly Turn[]

  constructor(loop: RunLoop) {
    this.#loop = loop
    this.delays = new Delays(loop)
    this.#turns = ([0, 1, 2, 3] as const).map(
      rank => new Turn(this, rank, loop.costs.of(`postTask('${priorities[rank]}')`)),
    )
  }

  queue(task: QueuedTask): void {
    const rank = rankOf(task.priority)
    task.order = nextOrder++
    this.#listFor(task, rank).append(task)
    if (task.isContinuation && rank === 2) this.#giveEarlyTurn()
    else this.#giveTurn(rank)
  }

  /** The task's priority has changed: it keeps its age. */
  move(task: QueuedTask): void {
    const rank = rankOf(task.priority)
    task.list!.remove(task)
    this.#listFor(task, rank).insert(task)
    this.#giveTurn(rank)
  }

  /** Its turn has come in the loop. @internal */
  takeTurn(turn: Turn): void {
    turn.queued--
    this.#runOldest(turn.rank)
  }

  /** @internal */
  takeEarlyTurn({ rank, cost }: Turn): void {
    if (this.#loop.mayGoOn(rank, cost)) this.#runOldest(rank)
    else this.#giveTurn(rank)
  }

  #listFor(task: QueuedTask, rank: Rank): TaskList {
    return task.isContinuation ? this.#continuations[rank] : this.#tasks[rank]
  }

  #runOldest(rank: Rank): void {
    const task = this.#continuations[rank].first ?? this.#tasks[rank].first
    task?.run()
  }

  #giveTurn(rank: Rank): void {
    const turn = this.#turns[rank]!
    if (turn.queued >= this.#continuations[rank].length + this.#tasks[rank].length) return
    turn.queued++
    outside(() => this.#loop.enqueue(rank, takeTurn, turn))
  }

  /**
   * The standard wants user-visible continuations to run before timers and I/O. So this one does not wait for the next
   * turn of the event loop, if nothing as urgent is queued. That is checked when its turn has come.
   * @see https://wicg.github.io/scheduling-apis/#sec-patches-html-event-loop-processing
   */
  #giveEarlyTurn(): void {
    outside(() => this.#loop.deliver(1, takeEarlyTurn, this.#turns[2]))
  }
}

const takeTurn = (turn: Turn) => turn.queues.takeTurn(turn)
const takeEarlyTurn = (turn: Turn) => turn.queues.takeEarlyTurn(turn)

const queuesOf = new WeakMap<RunLoop, TaskQueues>()

export function taskQueuesOf(loop: RunLoop): TaskQueues {
  let queues = queuesOf.get(loop)
  if (queues === undefined) queuesOf.set(loop, (queues = new TaskQueues(loop)))
  return queues
}
