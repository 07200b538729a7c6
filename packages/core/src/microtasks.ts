import { setImmediate } from '@kiruna/priority/timers'

/** The most jobs in one batch of immediates. */
const batchLimit = 64

/**
 * Runs every microtask and `process.nextTick` that is due, in the middle of a callback: otherwise the continuation of
 * one job's promise would wait for all jobs behind it. Only Node has this. Its documentation calls it deprecated
 * (DEP0134), but Node warns only with `--pending-deprecation`, and no public function does the same: a batch of
 * immediates comes nearest, at twice the cost of a job. `undefined` where it is missing: then the batch is used.
 * @see https://nodejs.org/api/deprecations.html#DEP0134
 */
export const drainMicrotasks: (() => void) | undefined = find()

function find(): (() => void) | undefined {
  const warns =
    process.execArgv.includes('--pending-deprecation') || process.env.NODE_PENDING_DEPRECATION === '1'
  const { _tickCallback } = process as { _tickCallback?: () => void }
  return warns || process.env.NODE_OPTIONS?.includes('--pending-deprecation') ? undefined : _tickCallback
}

/**
 * Calls `step` until it returns false, in a batch of immediates: Node drains the microtasks after each. Used where
 * `drainMicrotasks` is missing. `end` is called after the last one.
 * @param jobs how many are queued
 */
export function runBatch(jobs: number, step: () => boolean, end: () => void): void {
  let left = Math.min(Math.max(jobs, 1), batchLimit)
  let isOpen = true
  const immediate = () => {
    left--
    try {
      if (isOpen) isOpen = step()
    } finally {
      if (left === 0) end()
    }
  }
  for (let i = 1; i < left; i++) setImmediate(immediate)
  immediate()
}
