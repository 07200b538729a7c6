import { types } from 'node:util'
import { type Asker, deliver } from '@kiruna/priority'
import { checkBuffer, detached } from '@kiruna/priority/arguments'
import { invalidType } from '@kiruna/priority/error'
import { follow, unfollow } from '@kiruna/priority/follow-signal'

/** Where the bytes to be written come from: memory, or an AsyncIterable, which is asked in its caller's turn. */
export class Source {
  readonly #asker: Asker
  #bytes: Uint8Array | undefined = undefined
  #lengthBytes = 0
  readonly #iterator: AsyncIterator<Uint8Array> | undefined = undefined
  /** It has been asked, and has not answered. */
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
   * The next bytes, never none; undefined at the end. An abort does not wait for an iterator that is long in answering.
   * @throws TypeError ERR_INVALID_ARG_TYPE: a chunk that is no Uint8Array, ERR_INVALID_STATE: detached; what the
   *   iterator throws; the signal's reason
   */
  async next(): Promise<Uint8Array | undefined> {
    const iterator = this.#iterator
    if (iterator === undefined) {
      const bytes = this.#bytes
      this.#bytes = undefined
      // It was checked when it was given; transferred since, it looks as if there were nothing to write.
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

  /** Tells an iterator that has more that nobody wants it, and waits until it has closed what it has open. */
  async close(): Promise<void> {
    if (this.#iterator === undefined || this.#ended) return
    const closed = this.#return(this.#iterator).catch(nothing)
    if (!this.#pulling && !this.#asker.signal?.aborted) await closed
  }

  async #pull(iterator: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
    this.#pulling = true
    try {
      const step = await iterator.next()
      this.#ended = step.done === true
      return step
    } catch (error) {
      this.#ended = true // one that has thrown is not to be closed
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
      promise.catch(nothing) // after an abort nobody else looks at it
      if (signal.aborted) return reject(signal.reason)
      const link = follow(signal, { abort: reject })
      promise.then(resolve, reject).then(() => unfollow(signal, link))
    })
  }
}

const nothing = () => {}
