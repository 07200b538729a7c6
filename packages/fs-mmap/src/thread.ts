import { rankOf } from '@kiruna/priority'
import { Batch } from '@kiruna/priority/batch'
import { reportUncaught, systemError } from '@kiruna/priority/error'
import { Operation } from '@kiruna/priority/operation'
import { loadNative, type Native } from './native.ts'

/** The kinds of requests to a thread, as in thread.h: `map` is 0 there and has its own function here. */
export const kind = { prefault: 1, read: 2, unmap: 3, sync: 4, resize: 5 } as const

/** Results other than 0 and negative errnos, as in thread.h. */
export const outcome = { torn: 1, beyondEnd: 2, notAtEnd: 3 } as const

/** Waits for the result of a request to a native thread. */
interface Completion {
  /** @param result 0, a negative errno, or an `outcome` @param value if this kind of request has one */
  done(result: number, value: unknown): void
}

const waiting = new Map<number, Completion>()
let lastId = 0
let loaded: Native | undefined

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: another system, no addon, no fd left. The next call tries again */
export function native(): Native {
  if (loaded === undefined) {
    loaded = loadNative(takeResults)
    // Node's handler of a signal takes the place of ours, and would return to the access that has failed, for ever.
    process.on('newListener', event => {
      if (event === 'SIGBUS') loaded!.installFaultHandler()
    })
  }
  return loaded
}

/**
 * Gives a request to its thread.
 * @param give makes the native call with the request's number
 * @returns the number
 * @throws EAGAIN: no thread could be started
 */
export function request(completion: Completion, give: (native: Native, id: number) => number): number {
  const id = (lastId = lastId === 0xffff_ffff ? 1 : lastId + 1)
  const result = give(native(), id)
  if (result < 0) throw systemError(result, 'pthread_create')
  if (waiting.size === 0) native().ref()
  waiting.set(id, completion)
  return id
}

const batch = new Batch()
let isTaking = false

/** Called when threads have results. All of them are taken before the first promise settles. */
function takeResults(): void {
  const results = native().take()
  isTaking = true
  for (let i = 0; i < results.length; i += 3) {
    const id = results[i] as number
    const completion = waiting.get(id)!
    waiting.delete(id)
    try {
      completion.done(results[i + 1] as number, results[i + 2])
    } catch (error) {
      reportUncaught(error) // an asker's own code has thrown: the others still get their completions
    }
  }
  isTaking = false
  if (waiting.size === 0) native().unref()
  batch.deliver()
}

/** An operation on a native thread, at its caller's priority: it goes through the lane, and settles with its batch. */
export abstract class ThreadOperation<T> extends Operation<T> implements Completion {
  protected readonly native = native()
  #id = 0
  #unsubscribe: (() => void) | undefined = undefined

  /** Called when the thread is done with the request, after the lane has been left. */
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
    if (isTaking) batch.add(this)
    else this.deliver()
  }
}
