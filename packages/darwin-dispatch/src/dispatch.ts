import { constants } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import { unavailable } from '@kiruna/priority/addon'
import { Batch, type Deliverable } from '@kiruna/priority/batch'
import { reportUncaught, systemError } from '@kiruna/priority/error'
import { nextTick } from '@kiruna/priority/timers'
import { loadNative, type Native } from './native.ts'

const { errno } = constants
export const EINTR = -errno.EINTR
export const EIO = -errno.EIO
export const ECANCELED = -errno.ECANCELED
/** The same as in calls.cc: an open for writing of a FIFO that nobody reads. */
export const noReader = -100_000

/** Takes a result. The dispatcher holds it, and with it its buffer, until GCD is done. */
export interface Completion {
  /** @internal its index in the dispatcher while GCD has it, −1 otherwise */
  slot: number
  /** @param result as the system call returns it, or a negative errno */
  complete(result: number, value: Buffer | undefined): void
}

/** A call that is made at the end of the tick. */
interface Staged {
  submit(): void
}

/**
 * What this thread has under way with Grand Central Dispatch:
 *
 *     read() ─► slot ─► a channel, on a GCD thread ─► done ─► uv_async ─► complete() ─► settled, most urgent first
 *
 * @see dispatch(3)
 */
export class Dispatcher {
  readonly native: Native
  readonly #completions: (Completion | undefined)[] = []
  readonly #freeSlots: number[] = []
  #inFlight = 0
  readonly #staged: Staged[] = []
  #taking = false
  /** What has its outcome in the batch being taken. */
  readonly #batch = new Batch()

  constructor(native: Native) {
    const error = native.setup(this.#ready, isMainThread)
    if (error !== 0) throw unavailable(systemError(error, 'setup').message)
    this.native = native
  }

  /** Makes a call at the end of this tick: it begins at once on another thread, and until then an abort is in time. */
  stage(call: Staged): void {
    if (this.#staged.push(call) === 1) nextTick(this.#flush)
  }

  readonly #flush = (): void => {
    for (const call of this.#staged.splice(0)) call.submit()
  }

  /** Takes a slot for a call that is about to be made. */
  begin(completion: Completion): number {
    const slot = this.#freeSlots.pop() ?? this.#completions.length
    this.#completions[slot] = completion
    completion.slot = slot
    if (this.#inFlight++ === 0) this.native.ref()
    return slot
  }

  /** Asks GCD to stop. The completion comes in any case, perhaps with success. */
  cancel({ slot }: Completion): void {
    if (slot !== -1) this.native.cancel(slot)
  }

  /** Where GCD finds the buffer: valid as long as the buffer is held. */
  addressOf(buffer: NodeJS.ArrayBufferView): number {
    const memory = buffer.buffer
    let address = addresses.get(memory)
    if (address === undefined) {
      address = this.native.address(new Uint8Array(memory))
      addresses.set(memory, address)
    }
    return address + buffer.byteOffset
  }

  /** The operation has its outcome: it is delivered with its batch, most urgent first. */
  handOver(operation: Deliverable): void {
    if (this.#taking) this.#batch.add(operation)
    else operation.deliver()
  }

  /** Takes all results that are there, then delivers what has its outcome. */
  readonly #ready = (): void => {
    const taken = this.native.take()
    this.#taking = true
    for (let at = 0; at < taken.length; at += 3) {
      const completion = this.#release(taken[at] as number)
      try {
        completion.complete(taken[at + 1] as number, taken[at + 2] as Buffer | undefined)
      } catch (error) {
        reportUncaught(error) // an asker's own code has thrown: the others still get their completions
      }
    }
    this.#taking = false
    this.#batch.deliver()
    if (this.#inFlight === 0) this.native.unref()
  }

  #release(slot: number): Completion {
    const completion = this.#completions[slot]!
    this.#completions[slot] = undefined
    this.#freeSlots.push(slot)
    completion.slot = -1
    this.#inFlight--
    return completion
  }
}

/** An ArrayBuffer stays where it is, so its address is asked for once. */
const addresses = new WeakMap<ArrayBufferLike, number>()
let threadDispatcher: Dispatcher | undefined

/**
 * The dispatcher of this thread, set up at the first call.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: not macOS, no addon. The next call tries again
 */
export function dispatcher(): Dispatcher {
  threadDispatcher ??= new Dispatcher(loadNative())
  return threadDispatcher
}
