import type { Rival } from './peers/rival.ts'
import { median } from './rivals.ts'

export const jobs = 100_000
const measuredMs = 1200

/** What a queue of tiny jobs costs. */
export interface BulkMeasured {
  jobsPerSecond: number
  /** Of heap, for each queued job. */
  bytesEach: number
}

/** Jobs that do nothing, queued at once and then run; again and again. */
export async function bulk(rival: Rival): Promise<BulkMeasured> {
  // First: some keep the memory for the next burst.
  globalThis.gc!()
  const before = process.memoryUsage().heapUsed
  const done = burst(rival)
  globalThis.gc!()
  const after = process.memoryUsage().heapUsed
  await done
  const rates: number[] = []
  for (const startMs = performance.now(); performance.now() - startMs < measuredMs || rates.length < 3; ) {
    const fromMs = performance.now()
    await burst(rival)
    rates.push(jobs / ((performance.now() - fromMs) / 1000))
  }
  return { jobsPerSecond: median(rates), bytesEach: (after - before) / jobs }
}

function burst(rival: Rival): Promise<void> {
  return new Promise(resolve => {
    let left = jobs
    const job = () => {
      if (--left === 0) resolve()
    }
    for (let i = 0; i < jobs; i++) rival.post(job)
  })
}
