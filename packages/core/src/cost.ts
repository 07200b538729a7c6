/** Jobs from this length on are measured one by one; for shorter ones a look at the clock each would cost too much. */
export const longMs = 0.02
/** Enough for the names of a program; not for a program that gives each file's task a name of its own. */
const maxNames = 1000

/** How long the jobs of one name hold the thread, as far as it is known. */
export class Cost {
  readonly name: string
  /** A job of this name has held the thread for too long: from now on its tasks note where they are spawned. */
  hasOverrun = false
  #expectedMs = 0
  #known = false

  constructor(name: string) {
    this.name = name
  }

  /** How long the next one will take; an estimate on the long side. */
  get expectedMs(): number {
    return this.#expectedMs
  }

  /** The loop looks at the clock after the next one. */
  get needsMeasuring(): boolean {
    return !this.#known || this.#expectedMs > longMs
  }

  /** A longer one counts for half, a shorter one for a tenth: rather too much is expected than too little. */
  learn(ms: number): void {
    const weight = ms > this.#expectedMs ? 0.5 : 0.1
    this.#expectedMs = this.#known ? this.#expectedMs + (ms - this.#expectedMs) * weight : ms
    this.#known = true
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

/** A job's context that knows what the job costs; what is posted without one has its priority's cost. */
export abstract class Costed {
  abstract readonly cost: Cost
}
