/** A word of memory that other threads count up (`ring`, doorbell.ts) when the event loop should have its turn. */
export class Bell {
  /** Made when somebody asks for it: until then it costs nothing to listen. */
  #word: Int32Array<SharedArrayBuffer> | undefined = undefined
  #heard = 0

  get memory(): SharedArrayBuffer {
    this.#word ??= new Int32Array(new SharedArrayBuffer(4))
    return this.#word.buffer
  }

  get isRung(): boolean {
    return this.#word !== undefined && Atomics.load(this.#word, 0) !== this.#heard
  }

  /** The event loop gets its turn. What is rung from now on may come too late for that. */
  hear(): void {
    if (this.#word !== undefined) this.#heard = Atomics.load(this.#word, 0)
  }
}
