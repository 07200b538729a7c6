/** An item's place in a list, which `remove` takes. */
export interface Link<T> {
  readonly item: T
  /** @internal its list; undefined once it has left */
  list: LinkedList<T> | undefined
  /** @internal */
  previous: Link<T> | undefined
  /** @internal */
  next: Link<T> | undefined
}

/**
 * A queue that any item can leave. A Set can do the same, but its older tables keep what has left it reachable: under a
 * steady flow of items these survive one scavenge after another, until a full collection.
 */
export class LinkedList<T> {
  first: Link<T> | undefined = undefined
  #last: Link<T> | undefined = undefined

  add(item: T): Link<T> {
    const link: Link<T> = { item, list: this, previous: this.#last, next: undefined }
    if (this.#last === undefined) this.first = link
    else this.#last.next = link
    this.#last = link
    return link
  }

  /** Adds in front of all others. */
  addFirst(item: T): Link<T> {
    const link: Link<T> = { item, list: this, previous: undefined, next: this.first }
    if (this.first === undefined) this.#last = link
    else this.first.previous = link
    this.first = link
    return link
  }

  /** Nothing happens if it has left already. */
  remove(link: Link<T>): void {
    if (link.list !== this) return
    if (link.previous === undefined) this.first = link.next
    else link.previous.next = link.next
    if (link.next === undefined) this.#last = link.previous
    else link.next.previous = link.previous
    link.list = link.previous = link.next = undefined
  }

  /** No item may leave during the iteration. */
  *[Symbol.iterator](): Generator<T, void, undefined> {
    for (let link = this.first; link !== undefined; link = link.next) yield link.item
  }
}
