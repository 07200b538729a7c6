/** Something that runs alone, in its turn. */
export interface InTurn {
  /** It has the turn until it leaves. */
  takeTurn(): void
}

/** One at a time, first in, first out: the reads of one stream. */
export class Turns {
  readonly #waiting = new Set<InTurn>()
  #current: InTurn | undefined = undefined
  #pumping = false

  enter(one: InTurn): void {
    this.#waiting.add(one)
    this.#pump()
  }

  /** Whether it has the turn. */
  has(one: InTurn): boolean {
    return this.#current === one
  }

  /** Ends its turn, or its wait for it. */
  leave(one: InTurn): void {
    if (this.#current === one) this.#current = undefined
    else this.#waiting.delete(one)
    this.#pump()
  }

  /** A loop, not a recursion: any number may be done as soon as they have the turn. */
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
