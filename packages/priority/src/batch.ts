import { type Asker, type Rank, rankOf } from './priority.ts'

/** Something that has its outcome and waits for its caller's turn. */
export interface Deliverable {
  readonly asker: Asker
  /** Settles when the caller's turn comes. */
  deliver(): void
}

/** Operations that completed together, delivered most urgent first, in order of completion within a priority. */
export class Batch<One extends Deliverable = Deliverable> {
  #byRank: One[][] = [[], [], [], []]
  #count = 0

  /** @returns whether it is the first of its batch */
  add(one: One): boolean {
    this.#byRank[rankOf(one.asker.priority)]!.push(one)
    return this.#count++ === 0
  }

  /** Removes those of one rank. */
  take(rank: Rank): One[] {
    const all = this.#byRank[rank]!
    if (all.length > 0) {
      this.#byRank[rank] = []
      this.#count -= all.length
    }
    return all
  }

  /** Delivers all of them. What completes meanwhile belongs to the next batch. */
  deliver(): void {
    const batch = this.#byRank
    this.#byRank = [[], [], [], []]
    this.#count = 0
    for (const all of batch) for (const one of all) one.deliver()
  }
}
