/** What waits until nobody else is at work on the same thing. */
export interface InTurn {
  /** It has the turn, until it leaves. */
  takeTurn(): void
}

/** One at a time, in the order in which they came: the reads of one stream. */
export class Turns {
  readonly #waiting = new Set<InTurn>()
  #current: InTurn | undefined = undefined
  #pumping = false

  enter(one: InTurn): void {
    this.#waiting.add(one)
    this.#pump()
  }

  /** It is its turn. */
  has(one: InTurn): boolean {
    return this.#current === one
  }

  /** It is done, or waits no longer. */
  leave(one: InTurn): void {
    if (this.#current === one) this.#current = undefined
    else this.#waiting.delete(one)
    this.#pump()
  }

  /** A loop, however many are done as soon as they have the turn. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      for (const one of this.#waiting) {
        if (this.#current !== undefined) break
        this.#waiting.delete(one)
        this.#current = one
        one.takeTurn()
      }
    } finally {
      this.#pumping = false
    }
  }
}
