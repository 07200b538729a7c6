import { type Priority, priorities } from '@kiruna/priority'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { type Clock, createScheduler, type Scope, type Task } from '../src/default-scheduler.ts'
import { VirtualClock } from '../src/virtual-clock.ts'

/**
 * A program of random commands, taken from one tape by whoever runs: a task, a posted job, or the test in between. What
 * it does to the scheduler it does to a model first; and who begins a turn asks the model whether that is the next.
 */
type Command =
  | { do: 'post' | 'advance' | 'sleep'; priority: Priority; ms: number }
  | { do: 'spawn'; priority: Priority; delayMs: number; deadlineMs: number | undefined; stubborn: boolean }
  | { do: 'child'; own: Priority | undefined; delayMs: number; contain: boolean; stubborn: boolean }
  | { do: 'priority' | 'boost'; which: number; priority: Priority }
  | { do: 'cancel' | 'unboost' | 'pause' | 'resume' | 'run'; which: number }
  | { do: 'yield' | 'throw' | 'return' }

const priority = fc.constantFrom(...priorities)
const which = fc.nat(1000)
const stubborn = fc.boolean()
const delayMs = fc.constantFrom(0, 0, 1, 3)
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('post', 'advance', 'sleep'),
      priority,
      ms: fc.integer({ min: 1, max: 9 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('spawn'),
      priority,
      delayMs,
      stubborn,
      deadlineMs: fc.constantFrom(undefined, undefined, 4, 8),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('child'),
      own: fc.option(priority, { nil: undefined }),
      delayMs,
      stubborn,
      contain: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('priority', 'boost'), which, priority }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('cancel', 'unboost', 'pause', 'resume', 'run', 'run'),
      which,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('yield', 'yield', 'yield', 'yield', 'throw', 'return') }),
  },
)

const tickMs = 7

/** A turn in a queue: of a task, or of a posted job. */
interface Turn {
  readonly dueMs: number
  readonly task: ModelTask | undefined
  readonly name: string
}

/** Four lists, a list of sleepers, and what the microtasks after this turn will do. */
class Model {
  readonly queues: Turn[][] = [[], [], [], []]
  readonly sleepers: { dueMs: number; wake: () => void }[] = []
  readonly microtasks: (() => void)[] = []
  tickDueMs = tickMs
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  get nowMs(): number {
    return this.#now()
  }

  push(rank: number, turn: Turn): void {
    const queue = this.queues[rank]!
    const after = queue.findIndex(other => other.dueMs > turn.dueMs)
    queue.splice(after === -1 ? queue.length : after, 0, turn)
  }

  sleep(ms: number, wake: () => void): () => void {
    const sleeper = { dueMs: this.nowMs + ms, wake }
    const after = this.sleepers.findIndex(other => other.dueMs > sleeper.dueMs)
    this.sleepers.splice(after === -1 ? this.sleepers.length : after, 0, sleeper)
    return () => {
      const at = this.sleepers.indexOf(sleeper)
      if (at !== -1) this.sleepers.splice(at, 1)
    }
  }

  runMicrotasks(): void {
    for (const run of this.microtasks.splice(0)) run()
  }

  /** Whose turn it is; undefined when nothing is ready. One of a task that was cancelled before its first is not seen. */
  next(): string | undefined {
    for (;;) {
      this.runMicrotasks()
      while (this.sleepers.length > 0 && this.sleepers[0]!.dueMs <= this.nowMs) this.sleepers.shift()!.wake()
      if (this.nowMs >= this.tickDueMs) {
        this.tickDueMs += tickMs
        return 'tick'
      }
      const turn = this.queues.find(queue => queue.length > 0)?.shift()
      if (turn === undefined) return undefined
      const name = turn.task === undefined ? turn.name : turn.task.takeTurn()
      if (name !== undefined) return name
    }
  }
}

class ModelTask {
  readonly name: string
  readonly children = new Set<ModelTask>()
  /** By whom it is raised, and to what. */
  readonly boosts = new Map<object, number>()
  pauses = 0
  rank: number
  state: 'new' | 'begun' | 'ended' | 'settled' = 'new'
  stopped: { reason: unknown } | undefined
  failure: { reason: unknown } | undefined
  /** What a stop interrupts, and what a change of priority tells. */
  readonly waits = new Set<{ interrupt: () => void; raise: () => void }>()
  readonly runners: (() => void)[] = []
  readonly #model: Model
  readonly #parent: ModelTask | undefined
  readonly #contained: boolean
  readonly #dueMs: number
  #own: number | undefined
  /** Turns that it has, and how many of them stand in the queue. */
  #turns = 0
  #queued = 0

  constructor(
    model: Model,
    name: string,
    parent: ModelTask | undefined,
    own: Priority | undefined,
    options: { delayMs: number; deadlineMs?: number | undefined; contain?: boolean },
  ) {
    this.#model = model
    this.name = name
    this.#parent = parent
    this.#contained = options.contain === true
    this.#own = own === undefined ? undefined : priorities.indexOf(own)
    this.rank = this.#own ?? parent!.rank
    this.#dueMs = model.nowMs + (options.deadlineMs ?? Number.POSITIVE_INFINITY)
    parent?.children.add(this)
    if (parent?.stopped !== undefined) this.stop(parent.stopped.reason)
    if (options.delayMs > 0) this.sleep(options.delayMs)
    else this.addTurn()
  }

  get isPaused(): boolean {
    return this.stopped === undefined && (this.pauses > 0 || this.#parent?.isPaused === true)
  }

  addTurn(): void {
    this.#turns++
    if (!this.isPaused) this.#queue()
  }

  #queue(): void {
    this.#queued++
    this.#model.push(this.rank, { task: this, name: this.name, dueMs: this.#dueMs })
  }

  /** What is seen of it, if anything. */
  takeTurn(): string | undefined {
    this.#turns--
    this.#queued--
    if (this.state === 'settled') return undefined
    if (this.state === 'ended') {
      this.#settle()
      return `the end of ${this.name}`
    }
    if (this.state === 'begun' || this.stopped === undefined) {
      this.state = 'begun'
      return this.name
    }
    this.end()
    return undefined
  }

  sleep(ms: number): void {
    const cancel = this.#model.sleep(ms, () => end())
    const end = this.#wait(cancel, () => {})
  }

  run(other: ModelTask): void {
    const boost = {}
    const raise = () => other.boost(boost, this.rank)
    raise()
    const end = this.#wait(() => other.unboost(boost), raise)
    if (other.state === 'settled') this.#model.microtasks.push(end)
    else other.runners.push(end)
  }

  #wait(cleanUp: () => void, raise: () => void): () => void {
    const end = () => {
      if (!this.waits.delete(wait)) return
      cleanUp()
      this.addTurn()
    }
    const wait = { interrupt: end, raise }
    this.waits.add(wait)
    if (this.stopped !== undefined) this.#model.microtasks.push(end)
    return end
  }

  stop(reason: unknown): void {
    if (this.stopped !== undefined || this.state === 'settled') return
    this.stopped = { reason }
    while (this.#queued < this.#turns) this.#queue()
    for (const { interrupt } of this.waits) interrupt()
    for (const child of [...this.children]) child.stop(reason)
    if (this.state === 'new') this.state = 'ended'
    this.#settleIfAlone()
  }

  #fail(reason: unknown): void {
    this.failure ??= { reason }
    this.stop(reason)
    if (!this.#contained && this.#parent !== undefined) this.#parent.#fail(reason)
  }

  /** Its work has come to an end, with an error or without. */
  end(error?: unknown): void {
    this.#model.microtasks.push(() => {
      if (error !== undefined && error !== this.stopped?.reason) this.#fail(error)
      this.state = 'ended'
      this.#settleIfAlone()
    })
  }

  #settleIfAlone(): void {
    if (this.state !== 'ended' || this.children.size > 0) return
    if (this.isCancelled) this.#settle()
    else this.addTurn()
  }

  /** It settles without a turn. */
  get isCancelled(): boolean {
    return this.stopped !== undefined && this.failure === undefined
  }

  #settle(): void {
    this.state = 'settled'
    this.#parent?.children.delete(this)
    if (this.#parent !== undefined) this.#parent.#settleIfAlone()
    this.#model.microtasks.push(...this.runners)
  }

  setPriority(priority: Priority): void {
    this.#own = priorities.indexOf(priority)
    this.#reprioritize()
  }

  boost(by: object, rank: number): void {
    this.boosts.set(by, rank)
    this.#reprioritize()
  }

  unboost(by: object): void {
    this.boosts.delete(by)
    this.#reprioritize()
  }

  #reprioritize(): void {
    const rank = Math.min(this.#own ?? this.#parent!.rank, ...this.boosts.values())
    if (rank === this.rank) return
    const queued = this.#unqueue()
    this.rank = rank
    for (let i = 0; i < queued; i++) this.#queue()
    for (const child of this.children) child.#reprioritize()
    for (const { raise } of this.waits) raise()
  }

  #unqueue(): number {
    const queued = this.#queued
    const queue = this.#model.queues[this.rank]!
    for (let i = queue.length - 1; i >= 0; i--) if (queue[i]!.task === this) queue.splice(i, 1)
    this.#queued = 0
    return queued
  }

  hold(): void {
    if (!this.isPaused) return
    this.#unqueue()
    for (const child of this.children) child.hold()
  }

  release(): void {
    if (this.isPaused) return
    while (this.#queued < this.#turns) this.#queue()
    for (const child of this.children) child.release()
  }

  get outcome(): string {
    const stopped = this.failure ?? this.stopped
    return stopped === undefined ? `${this.name} ended` : String(stopped.reason)
  }
}

const uncaught = new Error('of a job')

interface Both {
  readonly model: ModelTask
  readonly task: Task<unknown>
  readonly boosts: (() => void)[]
  readonly resumes: (() => void)[]
}

/** One scheduler beside its model; several may take from the same tape. */
class Program {
  readonly scheduler
  readonly #model: Model
  readonly #tape: Command[]
  readonly #all: Both[] = []
  readonly #outcomes = new Map<string, string>()
  #difference: Error | undefined
  #names = 0
  ran = 0

  constructor(clock: Clock, tape: Command[]) {
    this.scheduler = createScheduler({ clock, onMissedDeadline: () => {} })
    this.scheduler.every(tickMs, () => this.#callBack('tick'))
    this.#model = new Model(() => clock.now())
    this.#tape = tape
  }

  /** Nothing is ready any more. */
  expectIdle(): void {
    if (this.#difference !== undefined) throw this.#difference
    expect(this.#model.next()).toBe(undefined)
    expect(this.scheduler.tasks().filter(one => one.state === 'queued')).toEqual([])
  }

  /** At the end, when time enough has passed: all that was paused goes on, and all has come to what the model says. */
  resumeAll(): void {
    for (const { resumes } of this.#all) for (const resume of resumes.splice(0)) resume()
  }

  expectEnd(): void {
    expect(this.scheduler.tasks()).toEqual([])
    expect(Object.fromEntries(this.#outcomes)).toEqual(
      Object.fromEntries(this.#all.map(({ model }) => [model.name, model.outcome])),
    )
    const stats = this.scheduler.stats()
    for (const priority of priorities) expect(stats[priority].queued).toBe(0)
  }

  /** Noted, not thrown: in a task it would be one more failure. */
  #expectSame(real: unknown, model: unknown, what: string): void {
    if (real !== model) this.#difference ??= new Error(`${what}: ${real}, and in the model ${model}`)
  }

  #begin(name: string): void {
    this.#expectSame(name, this.#model.next(), 'whose turn it is')
    this.ran++
  }

  /** What anybody can do, in a task or between two turns. */
  act(command: Command): void {
    switch (command.do) {
      case 'post': {
        const name = `post ${this.#names++}`
        const dueMs = Number.POSITIVE_INFINITY
        this.#model.push(priorities.indexOf(command.priority), { task: undefined, name, dueMs })
        this.scheduler.post(command.priority, () => this.#callBack(name))
        break
      }
      case 'spawn': {
        const { priority, delayMs, deadlineMs, stubborn } = command
        const options = { delayMs, ...(deadlineMs === undefined ? {} : { deadlineMs }) }
        const model = new ModelTask(this.#model, `task ${this.#names++}`, undefined, priority, options)
        this.#add(
          model,
          this.scheduler.spawn(priority, scope => this.#work(model, scope, stubborn), options),
        )
        break
      }
    }
    if (!('which' in command) || this.#all.length === 0) return
    const { model, task, boosts, resumes } = this.#all[command.which % this.#all.length]!
    switch (command.do) {
      case 'cancel': {
        const reason = new Error(`${model.name} cancelled`)
        model.stop(reason)
        task.cancel(reason)
        break
      }
      case 'priority':
        model.setPriority(command.priority)
        task.priority = command.priority
        break
      case 'boost': {
        const by = {}
        model.boost(by, priorities.indexOf(command.priority))
        const boost = task.boost(command.priority)
        boosts.push(() => {
          model.unboost(by)
          boost[Symbol.dispose]()
        })
        break
      }
      case 'unboost':
        boosts.shift()?.()
        break
      case 'pause': {
        model.pauses++
        model.hold()
        const pause = task.pause()
        resumes.push(() => {
          model.pauses--
          model.release()
          pause[Symbol.dispose]()
        })
        break
      }
      case 'resume':
        resumes.shift()?.()
        break
    }
    this.#expectSame(task.priority, priorities[model.rank], `the priority of ${model.name}`)
  }

  #add(model: ModelTask, task: Task<unknown>): void {
    this.#all.push({ model, task, boosts: [], resumes: [] })
    const { name } = model
    const settled = (outcome: string) => {
      this.#model.runMicrotasks()
      if (!model.isCancelled) this.#begin(`the end of ${name}`)
      this.#outcomes.set(name, outcome)
    }
    task.then(
      () => settled(`${name} ended`),
      error => settled(String(error)),
    )
  }

  /** What is not a task: it ends where a task would wait, and what it throws is uncaught. */
  #callBack(name: string): void {
    this.#begin(name)
    for (let command = this.#tape.shift(); command !== undefined; command = this.#tape.shift()) {
      if (command.do === 'throw') throw uncaught
      if (['yield', 'sleep', 'advance', 'return'].includes(command.do)) return
      this.act(command)
    }
  }

  async #work(model: ModelTask, scope: Scope, stubborn: boolean): Promise<void> {
    this.#begin(model.name)
    try {
      for (let command = this.#tape.shift(); command !== undefined; command = this.#tape.shift()) {
        if (command.do === 'return') break
        if (command.do === 'throw') throw new Error(`${model.name} failed`)
        try {
          const turn = this.#step(command, model, scope)
          if (turn !== undefined) await turn
        } catch (error) {
          if (!stubborn) throw error
        }
      }
      model.end()
    } catch (error) {
      model.end(error)
      throw error
    }
  }

  #step(command: Command, model: ModelTask, scope: Scope): Promise<void> | undefined {
    const back = <T>(turn: Promise<T>) =>
      turn.then(
        () => this.#begin(model.name),
        error => {
          this.#begin(model.name)
          throw error
        },
      )
    switch (command.do) {
      case 'yield':
        model.addTurn()
        return back(scope.yield())
      case 'advance':
      case 'sleep':
        model.sleep(command.ms)
        return back(scope.sleep(command.ms))
      case 'run': {
        // Of those spawned later: two that wait for each other would do so for ever.
        const later = this.#all.slice(this.#all.findIndex(one => one.model === model) + 1)
        if (later.length === 0) return undefined
        const other = later[command.which % later.length]!
        model.run(other.model)
        return back(scope.run(other.task))
      }
      case 'child': {
        const { own, delayMs, contain, stubborn } = command
        const child = new ModelTask(this.#model, `task ${this.#names++}`, model, own, { delayMs, contain })
        const options = { delayMs, contain, ...(own === undefined ? {} : { priority: own }) }
        this.#add(
          child,
          scope.spawn(scope => this.#work(child, scope, stubborn), options),
        )
        return undefined
      }
      default:
        this.act(command)
        return undefined
    }
  }
}

describe('whatever tasks do, and whatever is done to them', () => {
  /** @param looks after how many of them at the clock a slice ends */
  async function run(commands: Command[], schedulers: number, looks: number): Promise<void> {
    const clock = new VirtualClock()
    const simulation = { ...clock.simulation, maxLooksPerSlice: () => looks }
    const shared: Clock = {
      now: () => clock.now(),
      setTimeout: (...args) => clock.setTimeout(...args),
      simulation,
    }
    const tape = [...commands]
    const programs = Array.from({ length: schedulers }, () => new Program(shared, tape))
    const advance = async (ms: number) => {
      await clock.advance(ms)
      for (const program of programs) program.expectIdle()
    }
    let acts = 0
    for (let command = tape.shift(); command !== undefined; command = tape.shift()) {
      if (command.do === 'advance') await advance(command.ms)
      else programs[acts++ % schedulers]!.act(command)
    }
    await advance(1000)
    for (const program of programs) program.resumeAll()
    await advance(1000)
    for (const program of programs) program.expectEnd()
  }

  const commands = fc.array(command, { maxLength: 150, size: 'max' })
  const looks = fc.constantFrom(2, 3, 5, 4096)

  beforeAll(() => {
    process.setUncaughtExceptionCaptureCallback(error => {
      if (error !== uncaught) throw error
    })
    return () => process.setUncaughtExceptionCaptureCallback(null)
  })

  test('each turn is the one that a simple model says, and each outcome', async () => {
    const same = fc.asyncProperty(commands, looks, (commands, looks) => run(commands, 1, looks))
    await fc.assert(same, { numRuns: 1000 })
  })

  test('in two schedulers at once', async () => {
    const same = fc.asyncProperty(commands, looks, (commands, looks) => run(commands, 2, looks))
    await fc.assert(same, { numRuns: 300 })
  })
})
