/** Jobs from here on are looked at one by one; shorter ones are not worth a look at the clock each. */
export const longMs = 0.02
/** So many names are remembered: those of a program, not one for each file it opens. */
const namesKept = 1000

/** What is known of how long the jobs of one name hold the thread. */
export class Cost {
  readonly name: string
  /** It has held the thread for too long: from now on it is noted where tasks of this name are spawned. */
  overran = false
  #expectedMs = 0
  #known = false

  constructor(name: string) {
    this.name = name
  }

  /** How long the next one will take, rather too long than too short. */
  get expectedMs(): number {
    return this.#expectedMs
  }

  /** The clock is to be looked at after the next one. */
  get isWorthALook(): boolean {
    return !this.#known || this.#expectedMs > longMs
  }

  /** One has taken so long. Longer ones count at once, in part: the one that the machine has held up is an exception. */
  learn(ms: number): void {
    const weight = ms > this.#expectedMs ? 0.5 : 0.1
    this.#expectedMs = this.#known ? this.#expectedMs + (ms - this.#expectedMs) * weight : ms
    this.#known = true
  }
}

/** Of jobs that have nothing in common: nothing is expected of the next one. */
export class UnknownCost extends Cost {
  override learn(): void {}
}

/** The costs of a scheduler's tasks, by name. */
export class Costs {
  #byName = new Map<string, Cost>()

  of(name: string): Cost {
    let cost = this.#byName.get(name)
    if (cost === undefined) {
      if (this.#byName.size === namesKept) this.#byName = new Map() // tasks that live keep theirs
      this.#byName.set(name, (cost = new Cost(name)))
    }
    return cost
  }
}

/** A job's context that knows what the job costs; what is posted without one has its priority's cost. */
export abstract class Costed {
  abstract readonly cost: Cost
}
