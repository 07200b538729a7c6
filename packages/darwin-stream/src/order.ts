import { type Asker, rankOf } from '@kiruna/priority'

/** A read that somebody else's bytes end. */
export interface Awaited {
  readonly asker: Asker
  /** They have come: they are being read, or are about to be. */
  readonly hasBytes: boolean
  /** It has its bytes, and may go on. */
  goOn(): void
}

/** A read whose bytes somebody was quicker to take is waited for no longer than this. */
export const longestHoldMs = 100
const underWay = new Set<Awaited>()
const held = new Set<Awaited>()
let timer: NodeJS.Timeout | undefined

/**
 * Of what comes together, the most urgent goes on first, though each read has threads of its own: one that has its bytes
 * is held while there are bytes for a more urgent one.
 *
 *     background     wait ─► read ─► held ····················► goes on
 *     realtime              wait ─────────► read ─► goes on ─┘
 */
export function begin(read: Awaited): void {
  underWay.add(read)
}

/** It has its bytes: it goes on now, or soon. */
export function arrived(read: Awaited): void {
  underWay.delete(read)
  if (mayGoOn(read)) read.goOn()
  else {
    held.add(read)
    timer ??= setTimeout(letGo, longestHoldMs, true)
  }
  letGo(false)
}

/** It ends without. */
export function left(read: Awaited): void {
  underWay.delete(read)
  letGo(false)
}

function mayGoOn(read: Awaited): boolean {
  const rank = rankOf(read.asker.priority)
  for (const other of underWay) {
    if (rankOf(other.asker.priority) < rank && other.hasBytes) return false
  }
  return true
}

function letGo(all: boolean): void {
  if (held.size === 0) return
  const inOrder = [...held].sort((a, b) => rankOf(a.asker.priority) - rankOf(b.asker.priority))
  for (const read of inOrder) {
    if (!all && !mayGoOn(read)) continue
    held.delete(read)
    read.goOn()
  }
  if (held.size > 0) return
  clearTimeout(timer)
  timer = undefined
}
