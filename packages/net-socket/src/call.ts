/** A call that a socket makes once, as a completion for a ring or a port. Its promise settles with the completion. */
export class Call {
  slot = -1
  readonly result: Promise<number>
  #resolve!: (result: number) => void

  /** @param begin makes the call, with `call` as its completion */
  constructor(begin: (call: Call) => void) {
    this.result = new Promise(resolve => (this.#resolve = resolve))
    begin(this)
  }

  complete(result: number): void {
    this.#resolve(result)
  }
}
