/** Jobs from this length on are measured one by one; for shorter ones a look at the clock each would cost too much. */
export const longMs = 0.02
/** A job that is so much longer than usual is an exception, if there was none among so many before it. */
const exceptionalFactor = 4
const exceptionJobs = 16
/** Enough for a program's names, but not if each file's task has its own name. */
const maxNames = 1000

/** How long the jobs of one name hold the thread, as far as we know. */
export class Cost {
  readonly name: string
  /** A job of this name has held the thread for too long: from now on its tasks note where they are spawned. */
  hasOverrun = false
  #expectedMs = 0
  /** How many have been measured: none, one, or more. */
  #jobs = 0
  #exceptionMs = 0
  #sinceException = exceptionJobs

  constructor(name: string) {
    this.name = name
  }

  /** How long the next job will take: an estimate on the long side. */
  get expectedMs(): number {
    return this.#expectedMs
  }

  /** The loop looks at the clock after the next one. */
  get needsMeasuring(): boolean {
    return this.#jobs === 0 || this.#expectedMs > longMs
  }

  /**
   * A longer job counts for half, a shorter one for a tenth: the estimate is rather too long than too short. One that is
   * much longer than all others is an exception, and counts only as far as another follows soon: a breakpoint, a collection of
   * garbage, or a laptop that was closed must not hold up what comes after it. So is a first one, which is compiled.
   */
  learn(ms: number): void {
    const usual = this.#expectedMs
    const isException = this.#jobs > 0 && ms > longMs && ms > usual * exceptionalFactor
    let counted = ms
    if (isException) {
      counted = this.#sinceException < exceptionJobs ? Math.min(ms, this.#exceptionMs) : usual
      this.#exceptionMs = ms
      this.#sinceException = 0
    } else this.#sinceException++
    if (this.#jobs === 0 || (this.#jobs === 1 && ms * exceptionalFactor < usual)) this.#expectedMs = ms
    else this.#expectedMs += (counted - usual) * (counted > usual ? 0.5 : 0.1)
    if (this.#jobs < 2) this.#jobs++
  }
}

/** The cost of jobs that have nothing in common: none is expected. */
export class UnknownCost extends Cost {
  override learn(): void {}
}

/** The costs of a scheduler's tasks, by name. */
export class Costs {
  #byName = new Map<string, Cost>()

  of(name: string): Cost {
    let cost = this.#byName.get(name)
    if (cost === undefined) {
      if (this.#byName.size === maxNames) this.#byName = new Map() // living tasks keep theirs
      this.#byName.set(name, (cost = new Cost(name)))
    }
    return cost
  }
}

/** A job's context that knows the job's cost; a job without one has the cost of its priority's posts. */
export abstract class Costed {
  abstract readonly cost: Cost
}
