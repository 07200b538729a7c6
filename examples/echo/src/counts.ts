import type { Priority } from '@kiruna/core'

/** What the status page shows. */
export class Counts {
  /** Connections that are open, by their priority now. */
  readonly open = new Map<object, Priority>()
  connections = 0
  datagrams = 0
  bytes = 0

  toJSON(): object {
    const { connections, datagrams, bytes } = this
    const open: Partial<Record<Priority, number>> = {}
    for (const priority of this.open.values()) open[priority] = (open[priority] ?? 0) + 1
    return { open, connections, datagrams, bytes }
  }
}
