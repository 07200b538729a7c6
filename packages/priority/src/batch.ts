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

  get isEmpty(): boolean {
    return this.#byRank.every(all => all.length === 0)
  }

  add(one: One): void {
    this.#byRank[rankOf(one.asker.priority)]!.push(one)
  }

  /** Removes those of one rank. */
  take(rank: Rank): One[] {
    const all = this.#byRank[rank]!
    if (all.length > 0) this.#byRank[rank] = []
    return all
  }

  /** Delivers all of them. What completes meanwhile belongs to the next batch. */
  deliver(): void {
    const batch = this.#byRank
    this.#byRank = [[], [], [], []]
    for (const all of batch) for (const one of all) one.deliver()
  }
}
