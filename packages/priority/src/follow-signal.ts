/** What a signal can end: an operation, a task. */
export interface Abortable {
  abort(reason: unknown): void
}

interface Followers {
  readonly all: Set<Abortable>
  readonly listener: () => void
}

/**
 * One listener a signal, however many follow it: EventTarget looks through all of its listeners for duplicates at each
 * addition, and ten thousand operations on behalf of one task are no more than a folder's files.
 */
const followersOf = new WeakMap<AbortSignal, Followers>()

/** Calls `one.abort` with the signal's reason when it aborts. */
export function follow(signal: AbortSignal, one: Abortable): void {
  let followers = followersOf.get(signal)
  if (followers === undefined) {
    const all = new Set<Abortable>()
    const listener = () => {
      for (const one of all) one.abort(signal.reason)
    }
    followers = { all, listener }
    followersOf.set(signal, followers)
  }
  if (followers.all.size === 0) signal.addEventListener('abort', followers.listener, { once: true })
  followers.all.add(one)
}

/** The last one takes the listener along: Node keeps a dependent signal alive while it has one. */
export function unfollow(signal: AbortSignal, one: Abortable): void {
  const followers = followersOf.get(signal)
  if (followers === undefined || !followers.all.delete(one) || followers.all.size > 0) return
  signal.removeEventListener('abort', followers.listener)
}
