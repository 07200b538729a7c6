import { fileURLToPath } from 'node:url'
import { post as postJob } from '@kiruna/core'
import type { Bench } from './main.ts'
import { alternate, measuredBy, median } from './rivals.ts'

const jobs = 300_000
const round = fileURLToPath(new URL('./post-round.ts', import.meta.url))

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
  own: compare =>
    compare([
      {
        question: 'callbacks queued at once, then run',
        columns: [
          { title: 'ns each', better: 'less' },
          { title: 'bytes each', better: 'less' },
        ],
        run: env => measuredBy(process.execPath, ['--expose-gc', round], env),
      },
    ]),
}

/** One round of Kiruna's: nanoseconds and bytes. */
export async function measurePosts(): Promise<[nanoseconds: number, bytes: number]> {
  const post = (job: () => void) => postJob('user-visible', job)
  const nanoseconds: number[] = []
  for (let time = 0; time < 20; time++) nanoseconds.push(await nanosecondsEach(post))
  return [median(nanoseconds), await bytesEach(post)]
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
