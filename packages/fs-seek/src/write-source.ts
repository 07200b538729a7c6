import { types } from 'node:util'
import { type Asker, deliver } from '@kiruna/priority'
import { checkBuffer, detached } from '@kiruna/priority/arguments'
import { invalidType } from '@kiruna/priority/error'
import { follow, unfollow } from '@kiruna/priority/follow-signal'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'

/** How long an iterator may take to return. */
const mostReturnMs = 1000

/** The source of the bytes to write: memory, or an AsyncIterable, which is pulled in its caller's turn. */
export class Source {
  readonly #asker: Asker
  #bytes: Uint8Array | undefined = undefined
  #lengthBytes = 0
  readonly #iterator: AsyncIterator<Uint8Array> | undefined = undefined
  /** A call of the iterator's `next` has not settled. */
  #pulling = false
  #ended = false

  constructor(data: string | Uint8Array | AsyncIterable<Uint8Array>, asker: Asker) {
    this.#asker = asker
    if (typeof data === 'string') this.#bytes = Buffer.from(data)
    else if (types.isUint8Array(data)) this.#bytes = data
    else this.#iterator = (data as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
    this.#lengthBytes = this.#bytes?.length ?? 0
  }

  /**
   * The next bytes, at least one; undefined at the end. An abort does not wait for a slow iterator.
   * @throws TypeError ERR_INVALID_ARG_TYPE: a chunk is not a Uint8Array, ERR_INVALID_STATE: detached; what the
   *   iterator throws; the signal's reason
   */
  async next(): Promise<Uint8Array | undefined> {
    const iterator = this.#iterator
    if (iterator === undefined) {
      const bytes = this.#bytes
      this.#bytes = undefined
      // The buffer was checked at the call. If it has been transferred since, it looks empty.
      if (bytes !== undefined && bytes.length !== this.#lengthBytes) throw detached()
      return bytes?.length === 0 ? undefined : bytes
    }
    while (true) {
      await this.#orAborted(new Promise<void>(resolve => deliver(this.#asker, resolve)))
      const step = await this.#orAborted(this.#pull(iterator))
      if (step.done) return undefined
      if (!types.isUint8Array(step.value)) throw invalidType('chunk', 'a Uint8Array', step.value)
      checkBuffer(step.value)
      if (step.value.length > 0) return step.value
    }
  }

  /**
   * Ends an iterator that has more, and gives it a moment to close what it has open: its own code may never be done.
   */
  async close(): Promise<void> {
    if (this.#iterator === undefined || this.#ended) return
    const closed = this.#return(this.#iterator).catch(nothing)
    if (this.#pulling || this.#asker.signal?.aborted) return
    let timer: NodeJS.Timeout | undefined
    await Promise.race([closed, new Promise(resolve => (timer = setTimeout(resolve, mostReturnMs)))])
    clearTimeout(timer)
  }

  async #pull(iterator: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
    this.#pulling = true
    try {
      const step = await iterator.next()
      this.#ended = step.done === true
      return step
    } catch (error) {
      this.#ended = true // after a throw, `return` is not called
      throw error
    } finally {
      this.#pulling = false
    }
  }

  async #return(iterator: AsyncIterator<Uint8Array>): Promise<void> {
    await iterator.return?.()
  }

  #orAborted<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#asker
    if (signal === undefined) return promise
    return new Promise((resolve, reject) => {
      promise.catch(nothing) // after an abort nothing else handles its rejection
      if (signal.aborted) return reject(signal.reason)
      const link = follow(signal, { abort: reject })
      promise.then(resolve, reject).then(() => unfollow(signal, link))
    })
  }
}

const nothing = () => {}
