import type { Asker } from '@kiruna/priority'
import { invalidType } from '@kiruna/priority/error'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import type { SocketAddress } from './address.ts'
import type { Connection } from './connection.ts'
import { type Owner, Waiting } from './waiting.ts'

/** What `listen` takes beside where and for whom. */
export interface ListenOptions {
  /**
   * Hears of what costs the listener nothing but time: no more files may be open (EMFILE, ENFILE), no memory (ENOBUFS,
   * ENOMEM), … It goes on by itself after a pause. Without it such an error is silent.
   */
  onError?: (error: Error) => void
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkListenOptions({ onError }: ListenOptions): void {
  if (onError !== undefined && typeof onError !== 'function') {
    throw invalidType('options.onError', 'a function', onError)
  }
}

/** So many connections are accepted before somebody asks for them. The kernel keeps the rest, `backlog` of them. */
const mostAccepted = 64

class Accept extends Waiting<IteratorResult<Connection, undefined>> {}

/**
 * Accepts connections: each `next` is one. Nothing is accepted before the first `next`; then up to 64 ahead.
 * The signal of its caller stops it, and no connection that it has given.
 */
export abstract class Listener implements AsyncIterable<Connection>, AsyncDisposable, Owner {
  readonly asker: Asker
  readonly #onError: ((error: Error) => void) | undefined
  readonly #waiting = new LinkedList<Accept>()
  readonly #accepted: Connection[] = []
  #isAccepting = false
  #over: { reason?: unknown } | undefined = undefined
  #closing: Promise<void> | undefined = undefined
  #onIdle: (() => void) | undefined = undefined

  #following: Link<Abortable> | undefined = undefined

  constructor(asker: Asker, { onError }: ListenOptions) {
    this.asker = asker
    this.#onError = onError
    const { signal } = asker
    if (signal === undefined) return
    const abort = (reason: unknown) => {
      this.#end({ reason })
      void this.close()
    }
    this.#following = follow(signal, { abort })
  }

  /** Where it listens: with the port that was free, if it was to be 0. */
  abstract readonly address: SocketAddress

  /** Accepts until `stopAccepting`: `accepted` for each, `acceptStopped` at the end, however that comes. @see accept(2) */
  protected abstract acceptOn(): void
  protected abstract stopAccepting(): void
  /** @see close(2) */
  protected abstract closeSocket(): Promise<void>

  abstract handOver(one: Waiting<never>): void
  abstract delivered(one: Waiting<never>): void

  [Symbol.asyncIterator](): AsyncIterableIterator<Connection, undefined, undefined> {
    return {
      next: () => this.#next(),
      return: async () => {
        await this.close()
        return { done: true, value: undefined }
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  /** Stops accepting, and ends the loops. The connections live on, but those that nobody has asked for are closed. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  protected accepted(connection: Connection): void {
    const link = this.#waiting.first
    if (link !== undefined) {
      this.#waiting.remove(link)
      link.item.succeed({ done: false, value: connection })
    } else if (this.#over !== undefined) void connection.close()
    else if (this.#accepted.push(connection) >= mostAccepted) this.stopAccepting()
  }

  protected acceptStopped(): void {
    this.#isAccepting = false
    if (this.#over !== undefined) this.#onIdle?.()
    else this.#acceptMore()
  }

  /** Something that passes. */
  protected acceptFailed(error: Error): void {
    if (this.#over !== undefined) return
    try {
      this.#onError?.(error)
    } catch (thrown) {
      process.nextTick(rethrow, thrown) // it is uncaught, and the listener goes on
    }
  }

  /** None of those that wait has a signal of its own. */
  abort(): void {}

  /** They are all the listener's caller's. */
  reranked(): void {}

  #next(): Promise<IteratorResult<Connection, undefined>> {
    return new Promise((resolve, reject) => {
      const accept = new Accept(this, undefined, resolve, reject)
      const connection = this.#accepted.shift()
      if (connection !== undefined) accept.succeed({ done: false, value: connection })
      else if (this.#over !== undefined) this.#tell(accept)
      else this.#waiting.add(accept)
      this.#acceptMore()
    })
  }

  #acceptMore(): void {
    if (this.#isAccepting || this.#over !== undefined || this.#accepted.length > mostAccepted / 2) return
    this.#isAccepting = true
    this.acceptOn()
  }

  #end(over: { reason?: unknown }): void {
    this.#over ??= over
    for (let link = this.#waiting.first; link !== undefined; link = this.#waiting.first) {
      this.#waiting.remove(link)
      this.#tell(link.item)
    }
  }

  #tell(accept: Accept): void {
    if ('reason' in this.#over!) accept.fail(this.#over.reason)
    else accept.succeed({ done: true, value: undefined })
  }

  async #close(): Promise<void> {
    if (this.#following !== undefined) unfollow(this.asker.signal!, this.#following)
    this.#end({})
    const accepted = this.#accepted.splice(0).map(connection => connection.close())
    if (this.#isAccepting) {
      const idle = new Promise<void>(resolve => (this.#onIdle = resolve))
      this.stopAccepting()
      await idle
    }
    await this.closeSocket()
    await Promise.all(accepted)
  }
}

function rethrow(error: unknown): never {
  throw error
}
