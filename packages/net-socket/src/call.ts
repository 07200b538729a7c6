/** A call that is made once a socket, as a ring or a port takes it: its promise settles in the turn of its completion. */
export class Call {
  slot = -1
  readonly result: Promise<number>
  #resolve!: (result: number) => void

  /** @param begin makes the call, with this for its completion */
  constructor(begin: (call: Call) => void) {
    this.result = new Promise(resolve => (this.#resolve = resolve))
    begin(this)
  }

  complete(result: number): void {
    this.#resolve(result)
  }
}
