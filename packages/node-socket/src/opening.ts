import { type Owner, Waiting } from '@kiruna/net-socket/waiting'
import { askerOf } from '@kiruna/priority'
import { handOver } from './batch.ts'

/** Something that connects, listens or binds. */
export class Opening<T> extends Waiting<T> {
  /** Lets go of what is under way. */
  stop: () => void = nothing
}

/** Whose they all are: each has its own caller, and an abort rejects at once. */
export const opener: Owner = {
  asker: askerOf('user-blocking'),
  handOver,
  delivered: nothing,
  abort(one, reason) {
    ;(one as Opening<never>).stop()
    one.fail(reason)
  },
  reranked: nothing,
}

function nothing(): void {}
