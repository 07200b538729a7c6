import type { Priority } from '@kiruna/priority'

/** A job has held the thread for too long: nothing else could run, whatever its priority. */
export interface Overrun {
  /** The task's name, or `post('background')`, or `what awaits` a task that has just ended. */
  name: string
  priority: Priority
  ms: number
  /** Where the task was spawned: a stack, if a task of this name has overrun before. */
  spawnedAt?: string
}

/** A task has ended after its deadline. */
export interface MissedDeadline {
  name: string
  priority: Priority
  lateMs: number
}

const inProduction = process.env.NODE_ENV === 'production'
const warned = new Set<string>()

/** Unless the app listens: in development, a process warning, once for each name. */
export function warnOfOverrun({ name, ms, spawnedAt }: Overrun): void {
  const text = `'${name}' has held the thread for ${Math.round(ms)} ms: nothing more urgent could run`
  warnOnce(`overrun ${name}`, text, 'KIRUNA_OVERRUN', spawnedAt)
}

export function warnOfMissedDeadline({ name, lateMs }: MissedDeadline): void {
  warnOnce(
    `deadline ${name}`,
    `'${name}' has ended ${Math.round(lateMs)} ms after its deadline`,
    'KIRUNA_DEADLINE',
  )
}

function warnOnce(key: string, text: string, code: string, detail?: string): void {
  if (inProduction || warned.has(key) || warned.size === 1000) return
  warned.add(key)
  process.emitWarning(text, { type: 'KirunaWarning', code, ...(detail !== undefined && { detail }) })
}
