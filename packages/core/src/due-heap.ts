/** An entry that is due at a time. */
interface Due {
  /** On the loop's clock. */
  readonly dueMs: number
  /** @internal decides between entries that are due at the same time: the smaller comes first */
  order?: number
}

/** An entry that knows its place in the heap. */
export interface Placed extends Due {
  /** @internal −1 outside the heap */
  place: number
}

/** Waits for a time, when `wake` queues its job. */
export interface Sleeper extends Placed {
  wake(): void
}

/**
 * The earliest entry first: a binary heap in which each entry knows its place, so that any can leave. Entries that are
 * due at the same time come in the order of `nextOrder`, by default in the order of their arrival.
 */
export class DueHeap<Entry extends Placed> {
  readonly #heap: Entry[] = []
  readonly #nextOrder: () => number

  constructor(nextOrder = arrivalOrder()) {
    this.#nextOrder = nextOrder
  }

  get length(): number {
    return this.#heap.length
  }

  /** The earliest. */
  get first(): Entry | undefined {
    return this.#heap[0]
  }

  /** When the earliest is due; Infinity without one. */
  get nextMs(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#heap[0]!.dueMs
  }

  add(entry: Entry): void {
    entry.order = this.#nextOrder()
    this.#rise(entry, this.#heap.length)
  }

  remove(entry: Entry): void {
    const { place } = entry
    if (place === -1) return
    entry.place = -1
    const last = this.#heap.pop()!
    if (last === entry) return
    if (place > 0 && isBefore(last, this.#heap[(place - 1) >> 1]!)) this.#rise(last, place)
    else this.#sink(last, place)
  }

  #rise(entry: Entry, from: number): void {
    let place = from
    while (place > 0) {
      const above = this.#heap[(place - 1) >> 1]!
      if (!isBefore(entry, above)) break
      this.#put(above, place)
      place = (place - 1) >> 1
    }
    this.#put(entry, place)
  }

  #sink(entry: Entry, from: number): void {
    const heap = this.#heap
    let place = from
    for (;;) {
      let below = place * 2 + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below++
      if (!isBefore(heap[below]!, entry)) break
      this.#put(heap[below]!, place)
      place = below
    }
    this.#put(entry, place)
  }

  #put(entry: Entry, place: number): void {
    this.#heap[place] = entry
    entry.place = place
  }
}

export function arrivalOrder(): () => number {
  let arrived = 0
  return () => arrived++
}

export function isBefore(a: Due, b: Due): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order! < b.order!)
}
