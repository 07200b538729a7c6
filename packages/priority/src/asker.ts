import type { Priority } from './rank.ts'

/** On whose behalf an I/O call is made: it says how urgent the call is now, when to stop, and when to resume. */
export interface Asker {
  /** Read when it is needed, never cached: raising it moves what waits. */
  readonly priority: Priority
  /** Cancels what has not completed. */
  readonly signal?: AbortSignal | undefined
  /** Runs a completion when this caller's turn comes. Absent: when the turn of its bare priority comes. */
  deliver?(job: () => void): void
  /** Calls the listener when `priority` changes. Returns the unsubscribing; held only while an operation waits. */
  onPriorityChange?(listener: () => void): () => void
  /** @internal its calls are steps of an operation that has begun: in the lane they go before what has not */
  readonly isContinuation?: boolean
  /** @internal what its own code has thrown: the call rejects with it */
  readonly fault?: Fault | undefined
  /** @internal whose memory the bytes are that wait to be delivered; absent: its own */
  readonly owner?: object
}

/** What a caller's own code has thrown. */
export interface Fault {
  readonly error: unknown
}

/** What every I/O function takes: a priority, a task, a scope, or a web `TaskSignal`. */
export type Caller = Priority | Asker | (AbortSignal & { readonly priority: Priority })

/**
 * On the prototype of an asker that throws nothing and always has one of the four priorities: ours, a task, a scope, a
 * `TaskSignal` of core. All others are guarded.
 */
export const trusted = Symbol.for('@kiruna/priority/trusted')
