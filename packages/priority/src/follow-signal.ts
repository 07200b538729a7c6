import { type Link, LinkedList } from './linked-list.ts'

/** Something that a signal can end: an operation, a task. */
export interface Abortable {
  abort(reason: unknown): void
}

interface Followers {
  readonly all: LinkedList<Abortable>
  readonly listener: () => void
}

/**
 * One listener for each signal, however many follow it: at each addition EventTarget searches all listeners for
 * duplicates, and ten thousand operations on behalf of one task are just the files of a folder.
 */
const followersOf = new WeakMap<AbortSignal, Followers>()

/** Calls `one.abort` with the signal's reason when it aborts. Returns what `unfollow` takes. */
export function follow(signal: AbortSignal, one: Abortable): Link<Abortable> {
  let followers = followersOf.get(signal)
  if (followers === undefined) {
    const all = new LinkedList<Abortable>()
    const listener = () => {
      for (let link = all.first; link !== undefined; link = all.first) {
        all.remove(link)
        link.item.abort(signal.reason)
      }
    }
    followers = { all, listener }
    followersOf.set(signal, followers)
  }
  if (followers.all.first === undefined) signal.addEventListener('abort', followers.listener, { once: true })
  return followers.all.add(one)
}

/** The last follower removes the listener: Node keeps a dependent signal alive while it has one. */
export function unfollow(signal: AbortSignal, link: Link<Abortable>): void {
  const { list } = link
  list?.remove(link)
  if (list !== undefined && list.first === undefined)
    signal.removeEventListener('abort', followersOf.get(signal)!.listener)
}
