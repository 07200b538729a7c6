import { type Completion, port } from '@kiruna/win-iocp/iocp'

/** One call on the port, for what is done once a socket: its promise settles in the turn of its completion. */
export class Call implements Completion {
  slot = -1
  readonly result: Promise<number>
  #resolve!: (result: number) => void

  /** @param begin makes the call, with this slot */
  constructor(begin: (slot: number) => void) {
    this.result = new Promise(resolve => (this.#resolve = resolve))
    begin(port().begin(this))
  }

  complete(result: number): void {
    this.#resolve(result)
  }

  /** Its result comes in any case. */
  cancel(): void {
    port().cancel(this)
  }
}
