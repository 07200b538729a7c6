/**
 * First in, first out. The first item has its own field, since there is hardly ever a second:
 *
 *     first ◄─ rest[from], rest[from + 1], …
 */
export class Fifo<T> {
  #first: T | undefined = undefined
  /** Items before #from have been taken: an array's shift() would move all the others each time. */
  #rest: (T | undefined)[] | undefined = undefined
  #from = 0
  length = 0

  push(item: T): void {
    if (this.length++ === 0) this.#first = item
    else if (this.#rest === undefined) this.#rest = [item]
    else this.#rest.push(item)
  }

  /** Only if it is not empty. */
  shift(): T {
    const first = this.#first!
    this.length--
    this.#first = this.length === 0 ? undefined : this.#next(this.#rest!)
    return first
  }

  #next(rest: (T | undefined)[]): T {
    const next = rest[this.#from]!
    rest[this.#from++] = undefined
    if (this.#from === rest.length) rest.length = this.#from = 0
    else if (this.#from >= 64 && this.#from * 2 > rest.length) {
      this.#rest = rest.slice(this.#from)
      this.#from = 0
    }
    return next
  }
}
