import { addAbortListener } from 'node:events'
import { type Link, LinkedList } from './linked-list.ts'
import { queueMicrotask } from './timers.ts'

/** Something that a signal can end: an operation, a task. */
export interface Abortable {
  abort(reason: unknown): void
}

/**
 * One listener for each signal, however many follow it: at each addition EventTarget searches all listeners for
 * duplicates, and ten thousand operations on behalf of one task are just the files of a folder.
 */
class Followers {
  readonly all = new LinkedList<Abortable>()
  readonly #signal: AbortSignal
  #listening: Disposable | undefined = undefined

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  /** `addAbortListener`, because a listener of the user's may stop the event before it comes to ours. */
  listen(): void {
    this.#listening ??= addAbortListener(this.#signal, this.#onAbort)
  }

  /** Node keeps a dependent signal alive while it has a listener. */
  unlisten(): void {
    this.#listening?.[Symbol.dispose]()
    this.#listening = undefined
  }

  readonly #onAbort = (): void => {
    this.#listening = undefined
    if (this.#signal.aborted) this.#abortAll()
    // Anybody can dispatch an 'abort' event, which aborts nothing. The listener is gone with it: after the dispatch,
    // since one that is added within may hear the same event.
    else queueMicrotask(this.#listenAgain)
  }

  readonly #listenAgain = (): void => {
    if (this.#signal.aborted) this.#abortAll()
    else if (this.all.first !== undefined) this.listen()
  }

  #abortAll(): void {
    for (let link = this.all.first; link !== undefined; link = this.all.first) {
      this.all.remove(link)
      link.item.abort(this.#signal.reason)
    }
  }
}

const followersOf = new WeakMap<AbortSignal, Followers>()

/** Calls `one.abort` with the signal's reason when it aborts. Returns what `unfollow` takes. */
export function follow(signal: AbortSignal, one: Abortable): Link<Abortable> {
  let followers = followersOf.get(signal)
  if (followers === undefined) followersOf.set(signal, (followers = new Followers(signal)))
  followers.listen()
  return followers.all.add(one)
}

/** The last follower removes the listener. */
export function unfollow(signal: AbortSignal, link: Link<Abortable>): void {
  const { list } = link
  list?.remove(link)
  if (list !== undefined && list.first === undefined) followersOf.get(signal)!.unlisten()
}
