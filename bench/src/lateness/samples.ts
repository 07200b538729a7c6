import { existsSync, openSync, readSync } from 'node:fs'
import { percentile } from '../rivals.ts'

/** Until the code is compiled and everything is learnt. */
export const warmUpMs = 400
export const measuredMs = 1600
/** Shorter waits for a core are not worth mentioning. */
const waitMs = 0.2

/** How late something was, again and again; without what belongs to the warm-up. */
export class Samples {
  readonly #values: number[] = []
  readonly #fromMs: number
  readonly #toMs: number
  readonly #alone: boolean
  #leftOut = 0
  #waitedMs = waitedForCore()

  /** @param alone the rival has no threads of its own: if this one waits for a core, other programs are the cause. */
  constructor(startMs: number, alone: boolean) {
    this.#alone = alone
    this.#fromMs = startMs + warmUpMs
    this.#toMs = this.#fromMs + measuredMs
  }

  /** It was due so long ago. It does not count if that other programs had the core can be the cause. */
  add(lateMs: number): void {
    const nowMs = performance.now()
    const before = this.#waitedMs
    this.#waitedMs = waitedForCore()
    if (nowMs < this.#fromMs || nowMs - lateMs >= this.#toMs) return
    const waited = this.#waitedMs - before
    if (this.#alone && waited > waitMs && waited > lateMs / 4) this.#leftOut++
    else this.#values.push(lateMs)
  }

  percentile(percent: number): number {
    return percentile(this.#values, percent)
  }

  /** Of the samples, in per cent. */
  get leftOut(): number {
    return (this.#leftOut / (this.#leftOut + this.#values.length)) * 100
  }
}

const path = '/proc/self/schedstat'
const schedstat = existsSync(path) ? openSync(path, 'r') : undefined
const text = Buffer.alloc(64)

/**
 * How long the main thread was ready to run and had no core, in milliseconds. Only Linux tells.
 * @see https://docs.kernel.org/scheduler/sched-stats.html
 */
function waitedForCore(): number {
  if (schedstat === undefined) return 0
  const length = readSync(schedstat, text, 0, text.length, 0)
  return Number(text.toString('latin1', 0, length).split(' ')[1]) / 1e6
}
