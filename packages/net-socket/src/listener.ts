import type { Asker } from '@kiruna/priority'
import { reportUncaught } from '@kiruna/priority/error'
import { type Abortable, follow, unfollow } from '@kiruna/priority/follow-signal'
import { type Link, LinkedList } from '@kiruna/priority/linked-list'
import { clearTimeout, setTimeout } from '@kiruna/priority/timers'
import type { SocketAddress } from './address.ts'
import type { CheckedListen } from './arguments.ts'
import type { Connection } from './connection.ts'
import { type Owner, Waiting } from './waiting.ts'

/** How many connections are accepted ahead. The kernel keeps more, up to `backlog`. */
const mostAccepted = 64
/** The pause after an error such as EMFILE. The kernel keeps new connections meanwhile. */
const pauseMs = 100

class Accept extends Waiting<IteratorResult<Connection, undefined>> {}

/**
 * Accepts connections: each `next` is one. Nothing is accepted before the first `next`; then up to 64 ahead.
 * The signal of its caller stops the listener, but no connection that it has returned.
 */
export abstract class Listener implements AsyncIterable<Connection>, AsyncDisposable, Owner {
  /** Where it listens, with the free port that the system chose if 0 was given. */
  readonly address: SocketAddress
  /** @internal */
  readonly asker: Asker
  readonly #onError: ((error: Error) => void) | undefined
  readonly #waiting = new LinkedList<Accept>()
  readonly #accepted: Connection[] = []
  #isAccepting = false
  #isStopping = false
  #pause: NodeJS.Timeout | undefined = undefined
  /** Nothing more is accepted: every `next` from now on is the end, or fails with the reason. */
  #ended: { reason?: unknown } | undefined = undefined
  #closing: Promise<void> | undefined = undefined
  #onIdle: (() => void) | undefined = undefined
  readonly #following: Link<Abortable> | undefined = undefined

  /** @param address as the OS tells it */
  constructor(address: SocketAddress, { asker, onError }: Pick<CheckedListen, 'asker' | 'onError'>) {
    this.address = address
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

  /**
   * Accepts until `stopAccepting`, and calls `accepted` for each connection. When accepting ends for any reason,
   * `acceptStopped` follows, or `acceptPaused`, which starts it again.
   * @see accept(2)
   */
  protected abstract startAccepting(): void
  /** `acceptStopped` follows, at once if it is not accepting. */
  protected abstract stopAccepting(): void
  /** @see close(2) */
  protected abstract closeSocket(): Promise<unknown>

  abstract handOver(one: Waiting<never>): void

  delivered(_one: Waiting<never>): void {}

  /** `stopAccepting` has been called. */
  protected get isStopping(): boolean {
    return this.#isStopping
  }

  /** Nothing more is accepted. */
  protected get isOver(): boolean {
    return this.#ended !== undefined
  }

  /** How many more may be accepted ahead. */
  protected get room(): number {
    return mostAccepted - this.#accepted.length
  }

  protected get isPaused(): boolean {
    return this.#pause !== undefined
  }

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

  /** Stops accepting, and ends the loops. Connections that were returned live on; the others close. Idempotent. */
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
    } else if (this.#ended !== undefined) void connection.close()
    else if (this.#accepted.push(connection) >= mostAccepted) this.#stop()
  }

  protected acceptStopped(): void {
    if (!this.#isAccepting) return // it was stopped after the last connection, and has also ended by itself
    this.#isAccepting = false
    if (this.#ended !== undefined) this.#onIdle?.()
    else this.#acceptMore()
  }

  /** The socket cannot accept any more: the loops end with the error. */
  protected acceptEnded(error: Error): void {
    this.#isAccepting = false
    this.#end({ reason: error })
    this.#onIdle?.()
  }

  /** Reports an error after which the listener goes on. */
  protected acceptFailed(error: Error): void {
    if (this.#ended !== undefined) return
    try {
      this.#onError?.(error)
    } catch (thrown) {
      reportUncaught(thrown)
    }
  }

  /** Reports the error, and accepts again after a pause. */
  protected acceptPaused(error: Error): void {
    if (this.isPaused) return
    if (this.#isStopping) this.acceptStopped()
    else this.#pause = setTimeout(this.#resume, pauseMs)
    this.acceptFailed(error)
  }

  readonly #resume = (): void => {
    this.#pause = undefined
    this.#accept()
  }

  /** The calls that wait have no signals of their own. */
  abort(): void {}

  /** The calls that wait all have the listener's caller. */
  rankChanged(): void {}

  #next(): Promise<IteratorResult<Connection, undefined>> {
    return new Promise((resolve, reject) => {
      const accept = new Accept(this, undefined, resolve, reject)
      const connection = this.#accepted.shift()
      if (connection !== undefined) accept.succeed({ done: false, value: connection })
      else if (this.#ended !== undefined) this.#settle(accept)
      else this.#waiting.add(accept)
      this.#acceptMore()
    })
  }

  #acceptMore(): void {
    if (this.#isAccepting || this.#ended !== undefined || this.#accepted.length > mostAccepted / 2) return
    this.#isAccepting = true
    this.#isStopping = false
    this.#accept()
  }

  #accept(): void {
    try {
      this.startAccepting()
    } catch (error) {
      this.acceptPaused(error as Error) // no memory
    }
  }

  #stop(): void {
    if (this.#isStopping) return
    this.#isStopping = true
    clearTimeout(this.#pause)
    this.#pause = undefined
    this.stopAccepting()
  }

  #end(ended: { reason?: unknown }): void {
    this.#ended ??= ended
    for (let link = this.#waiting.first; link !== undefined; link = this.#waiting.first) {
      this.#waiting.remove(link)
      this.#settle(link.item)
    }
  }

  #settle(accept: Accept): void {
    if ('reason' in this.#ended!) accept.fail(this.#ended.reason)
    else accept.succeed({ done: true, value: undefined })
  }

  async #close(): Promise<void> {
    if (this.#following !== undefined) unfollow(this.asker.signal!, this.#following)
    this.#end({})
    const accepted = this.#accepted.splice(0).map(connection => connection.close())
    if (this.#isAccepting) {
      const idle = new Promise<void>(resolve => (this.#onIdle = resolve))
      this.#stop()
      await idle
    }
    await this.closeSocket()
    await Promise.all(accepted)
  }
}
