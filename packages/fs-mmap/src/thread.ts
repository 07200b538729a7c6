import { rankOf } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { Operation } from '@kiruna/priority/operation'
import { loadNative, type Native } from './native.ts'

// As in thread.h.
export const kPrefault = 1
export const kRead = 2
export const kUnmap = 3
export const kSync = 4
export const kResize = 5
export const torn = 1
export const beyondEnd = 2
export const notAtEnd = 3

/** Waits for what a native thread makes of a request. */
export interface Completion {
  /** @param result 0, a negative errno, or one of the constants above; `value` as the request has one */
  done(result: number, value: unknown): void
}

const waiting = new Map<number, Completion>()
let lastId = 0
let loaded: Native | undefined
let failure: Error | undefined

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: another system, no addon */
export function native(): Native {
  if (loaded !== undefined) return loaded
  if (failure !== undefined) throw failure
  try {
    loaded = loadNative(ready)
    return loaded
  } catch (error) {
    failure = error as Error
    throw error
  }
}

/**
 * Gives a request to its thread: `give` makes the native call with the number that it is given.
 * @returns that number
 * @throws EAGAIN: no thread can be had
 */
export function request(completion: Completion, give: (native: Native, id: number) => number): number {
  const id = (lastId = lastId === 0xffff_ffff ? 1 : lastId + 1)
  const result = give(native(), id)
  if (result < 0) throw systemError(result, 'pthread_create')
  if (waiting.size === 0) native().ref()
  waiting.set(id, completion)
  return id
}

/** Those that got their outcome in the batch being taken, by rank: settled when all of it is taken. */
const batch: ThreadOperation<unknown>[][] = [[], [], [], []]
let taking = false

/** The threads have done something. */
function ready(): void {
  const done = native().take()
  taking = true
  for (let i = 0; i < done.length; i += 3) {
    const id = done[i] as number
    const completion = waiting.get(id)!
    waiting.delete(id)
    try {
      completion.done(done[i + 1] as number, done[i + 2])
    } catch (error) {
      process.nextTick(rethrow, error) // an asker's own code: it must not cost the others their completion
    }
  }
  taking = false
  if (waiting.size === 0) native().unref()
  for (const operations of batch) {
    for (const operation of operations.splice(0)) operation.deliver()
  }
}

/** An operation that a native thread makes for its caller, at its priority: through the lane, and settled in a batch. */
export abstract class ThreadOperation<T> extends Operation<T> implements Completion {
  protected readonly native = native()
  #id = 0
  #unsubscribe: (() => void) | undefined = undefined

  /** What follows when the thread is done with what `give` gave it. The lane has been left. */
  protected abstract complete(result: number, value: unknown): void

  protected give(give: (native: Native, id: number, rank: number) => number): void {
    this.#unsubscribe = this.asker.onPriorityChange?.(() =>
      this.native.move(this.#id, rankOf(this.asker.priority)),
    )
    try {
      this.#id = request(this, (native, id) => give(native, id, rankOf(this.asker.priority)))
    } catch (error) {
      this.#unsubscribe?.()
      throw error
    }
  }

  done(result: number, value: unknown): void {
    this.#id = 0
    this.#unsubscribe?.()
    this.leave()
    this.complete(result, value)
  }

  protected stop(): void {
    if (this.#id !== 0) this.native.cancel(this.#id)
  }

  protected override handOver(): void {
    if (taking) batch[rankOf(this.asker.priority)]!.push(this)
    else this.deliver()
  }
}

function rethrow(error: unknown): never {
  throw error
}
