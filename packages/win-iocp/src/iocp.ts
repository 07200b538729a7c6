import { Batch, type Deliverable } from '@kiruna/priority/batch'
import { reportUncaught } from '@kiruna/priority/error'
import { setTimeout } from '@kiruna/priority/timers'
import { loadNative, type Native } from './native.ts'

/** Takes the result of a call. The port holds it until then. */
export interface Completion {
  /** Set by the port: the slot of the call in flight, −1 while there is none. */
  slot: number
  /** The call does not keep the process alive. */
  isUnref?: boolean
  complete(result: number): void
}

/** How many results are taken from the addon at once. */
const batchLength = 64
/** A cancel that found nothing is tried again after this: the call may be passing from one thread to another. */
const cancelAgainMs = 10

/**
 * The completion port of this thread. A call goes to the system at once, and completions come back in batches:
 *
 *     read() ─► ReadFile ─► the port ─► its thread ─► uv_async ─► take ─► complete() ─► settled, most urgent first
 *
 * @see https://learn.microsoft.com/windows/win32/fileio/i-o-completion-ports
 */
export class Port {
  /** Its calls take a slot from `begin`. */
  readonly native: Native
  readonly #pairs = new Float64Array(batchLength * 2)
  readonly #completions: (Completion | undefined)[] = []
  readonly #freeSlots: number[] = []
  #inFlight = 0
  #isTaking = false
  /** What has its outcome while results are being taken. */
  readonly #batch = new Batch()

  constructor() {
    this.native = loadNative(this.#ready)
  }

  /** A slot for a call that is about to be made. */
  begin(completion: Completion): number {
    const slot = this.#freeSlots.pop() ?? this.#completions.length
    this.#completions[slot] = completion
    completion.slot = slot
    if (completion.isUnref !== true && this.#inFlight++ === 0) this.native.ref()
    return slot
  }

  /** Whether the completion's call keeps the process alive. At first it does. */
  setRef(completion: Completion, isRef: boolean): void {
    if (isRef === (completion.isUnref !== true)) return
    completion.isUnref = !isRef
    if (completion.slot === -1) return
    if (isRef && this.#inFlight++ === 0) this.native.ref()
    else if (!isRef && --this.#inFlight === 0) this.native.unref()
  }

  /** Asks the system to cancel its call. The completion comes in any case, perhaps with success. */
  cancel(completion: Completion): void {
    const { slot } = completion
    if (slot === -1 || this.native.cancel(slot)) return
    setTimeout(() => {
      if (this.#completions[slot] === completion) this.cancel(completion)
    }, cancelAgainMs)
  }

  /** The operation has its outcome: it is delivered with its batch, most urgent first. */
  handOver(operation: Deliverable): void {
    if (this.#isTaking) this.#batch.add(operation)
    else operation.deliver()
  }

  readonly #ready = (): void => {
    this.#isTaking = true
    const pairs = this.#pairs
    for (let count = batchLength; count === batchLength; ) {
      count = this.native.take(pairs)
      for (let i = 0; i < count; i++) this.#complete(pairs[i * 2]!, pairs[i * 2 + 1]!)
    }
    this.#isTaking = false
    this.#batch.deliver()
    if (this.#inFlight === 0) this.native.unref()
  }

  #complete(slot: number, result: number): void {
    const completion = this.#completions[slot]!
    this.#completions[slot] = undefined
    this.#freeSlots.push(slot)
    completion.slot = -1
    if (completion.isUnref !== true) this.#inFlight--
    try {
      completion.complete(result)
    } catch (error) {
      reportUncaught(error) // an asker's own code has thrown: the others still get their completions
    }
  }
}

let threadPort: Port | undefined

/**
 * The port of this thread, set up at the first call.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: not Windows, no addon
 */
export function port(): Port {
  threadPort ??= new Port()
  return threadPort
}
