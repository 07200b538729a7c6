import { setImmediate as turn } from 'node:timers/promises'
import { spawn } from '@kiruna/core'
import { type BulkMeasured, jobs } from './bulk.ts'
import type { Bench } from './main.ts'
import { alternate as alternatePeers, peers } from './peers/alternate.ts'
import { alternate } from './rivals.ts'

const tasks = 100_000
const bare = 'a promise, resolved by setImmediate'

/** What tasks and queued jobs cost when they have nothing to do. */
export const throughput: Bench = {
  name: 'throughput',
  async run() {
    const medians = await alternatePeers<BulkMeasured>('bulk', [...peers, 'kiruna'])
    const promise = () => new Promise<void>(resolve => setImmediate(resolve))
    const task = () => spawn('user-visible', nothing)
    const all = await alternate({ [bare]: () => atOnce(promise), kiruna: () => atOnce(task) }, 7)
    const each = await alternate({ [bare]: () => oneByOne(promise), kiruna: () => oneByOne(task) }, 7)
    return [
      {
        question: `${tasks.toLocaleString('en')} empty tasks: spawned and awaited, in ns each`,
        columns: [
          { title: 'one by one', better: 'less' },
          { title: 'all at once', better: 'less' },
        ],
        medians: { [bare]: [each[bare]!, all[bare]!], kiruna: [each.kiruna!, all.kiruna!] },
        targets: [
          {
            what: "the cost one by one, of the bare promise's,",
            is: each.kiruna! / each[bare]!,
            bound: { atMost: 1.5 },
          },
          {
            what: "the cost all at once, of the bare promise's,",
            is: all.kiruna! / all[bare]!,
            bound: { atMost: 1.5 },
          },
        ],
      },
      {
        question: `${jobs.toLocaleString('en')} jobs that do nothing, queued at once and then run`,
        columns: [
          { title: 'jobs/s', better: 'more' },
          { title: 'bytes a queued job', better: 'less' },
        ],
        medians: Object.fromEntries(
          Object.entries(medians).map(([rival, { jobsPerSecond, bytesEach }]) => [
            rival,
            [jobsPerSecond, bytesEach],
          ]),
        ),
        targets: [{ what: 'bytes a queued job', is: medians.kiruna!.bytesEach, bound: { atMost: 24 } }],
      },
    ]
  },
}

const nothing = () => {}

async function atOnce(start: () => Promise<void>): Promise<number> {
  await turn() // not in what is left of a task
  const startMs = performance.now()
  const started: Promise<void>[] = []
  for (let i = 0; i < tasks; i++) started.push(start())
  for (const one of started) await one
  return ((performance.now() - startMs) * 1e6) / tasks
}

async function oneByOne(start: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  for (let i = 0; i < tasks; i++) await start()
  return ((performance.now() - startMs) * 1e6) / tasks
}
