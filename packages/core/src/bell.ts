/** A word of memory that other threads count up (`ring`, doorbell.ts) when the event loop should have its turn. */
export class Bell {
  /** Made on the first request: until then listening costs nothing. */
  #word: Int32Array<SharedArrayBuffer> | undefined = undefined
  #heard = 0

  get memory(): SharedArrayBuffer {
    this.#word ??= new Int32Array(new SharedArrayBuffer(4))
    return this.#word.buffer
  }

  get isRung(): boolean {
    return this.#word !== undefined && Atomics.load(this.#word, 0) !== this.#heard
  }

  /** The event loop gets its turn. A ring from now on may be too late for it. */
  hear(): void {
    if (this.#word !== undefined) this.#heard = Atomics.load(this.#word, 0)
  }
}
