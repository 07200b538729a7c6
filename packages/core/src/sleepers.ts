/** What waits for a time: `wake` queues what follows. */
export interface Sleeper {
  /** On the loop's clock. */
  readonly dueMs: number
  wake(): void
  /** @internal its place in the heap, −1 outside */
  place: number
}

/**
 * Those that wait for a time, the earliest first: a binary heap in which each knows its place, so that one can leave.
 * None is due before the one above it; those that are due at the same time have no order.
 */
export class Sleepers {
  readonly #heap: Sleeper[] = []

  /** When the earliest is due; Infinity without one. */
  get nextMs(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#heap[0]!.dueMs
  }

  add(sleeper: Sleeper): void {
    this.#rise(sleeper, this.#heap.length)
  }

  remove(sleeper: Sleeper): void {
    const { place } = sleeper
    if (place === -1) return
    sleeper.place = -1
    const last = this.#heap.pop()!
    if (last === sleeper) return
    if (place > 0 && last.dueMs < this.#heap[(place - 1) >> 1]!.dueMs) this.#rise(last, place)
    else this.#sink(last, place)
  }

  /** Wakes whoever is due. */
  wake(nowMs: number): void {
    while (this.nextMs <= nowMs) {
      const sleeper = this.#heap[0]!
      this.remove(sleeper)
      sleeper.wake()
    }
  }

  #rise(sleeper: Sleeper, from: number): void {
    let place = from
    while (place > 0) {
      const above = this.#heap[(place - 1) >> 1]!
      if (above.dueMs <= sleeper.dueMs) break
      this.#put(above, place)
      place = (place - 1) >> 1
    }
    this.#put(sleeper, place)
  }

  #sink(sleeper: Sleeper, from: number): void {
    const heap = this.#heap
    let place = from
    for (;;) {
      let below = place * 2 + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && heap[below + 1]!.dueMs < heap[below]!.dueMs) below++
      if (sleeper.dueMs <= heap[below]!.dueMs) break
      this.#put(heap[below]!, place)
      place = below
    }
    this.#put(sleeper, place)
  }

  #put(sleeper: Sleeper, place: number): void {
    this.#heap[place] = sleeper
    sleeper.place = place
  }
}
