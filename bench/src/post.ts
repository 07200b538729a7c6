import { post as postJob } from '@kiruna/core'
import type { Bench } from './main.ts'
import { alternate } from './rivals.ts'

const jobs = 300_000

/** What a queued callback costs. */
export const post: Bench = {
  name: 'post',
  async run() {
    const bulk = await alternate(
      {
        setImmediate: () => nanosecondsEach(job => setImmediate(job)),
        kiruna: () => nanosecondsEach(job => postJob('user-visible', job)),
      },
      9,
    )
    return [
      {
        question: `${jobs.toLocaleString('en')} callbacks queued at once, then run`,
        unit: 'ns each',
        better: 'less',
        medians: bulk,
        target: { rival: 'setImmediate', ratio: 2 },
      },
      {
        question: 'memory of a queued callback',
        unit: 'bytes',
        better: 'less',
        medians: {
          setImmediate: await bytesEach(job => setImmediate(job)),
          kiruna: await bytesEach(job => postJob('user-visible', job)),
        },
        target: { bound: 24 },
      },
    ]
  },
}

function nanosecondsEach(queue: (job: () => void) => void): Promise<number> {
  return new Promise(resolve => {
    let left = jobs
    const startMs = performance.now()
    const job = () => {
      if (--left === 0) resolve(((performance.now() - startMs) * 1e6) / jobs)
    }
    for (let i = 0; i < jobs; i++) queue(job)
  })
}

/** How much the heap grows by a queued job, with a number that is unkind to a ring that doubles. */
function bytesEach(queue: (job: () => void) => void): Promise<number> {
  const queued = 600_000
  return new Promise(resolve => {
    let left = queued
    globalThis.gc!()
    const before = process.memoryUsage().heapUsed
    const job = () => {
      if (--left === 0) resolve((after - before) / queued)
    }
    for (let i = 0; i < queued; i++) queue(job)
    globalThis.gc!()
    const after = process.memoryUsage().heapUsed
  })
}
