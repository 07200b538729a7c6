// How late is what must not be late, while there is a lot to do? Five kinds of a lot.
import type { Bench } from '../main.ts'
import { alternate, peers } from '../peers/alternate.ts'
import type { RivalName, ScenarioName } from '../peers/round.ts'
import type { Column, Table, Target } from '../table.ts'
import { chunkMs, tasks } from './chunks.ts'
import type { Measured } from './measure.ts'
import { computations } from './polling.ts'
import { loops } from './reads.ts'
import { jobs } from './tiny-jobs.ts'
import { waiters } from './wake-ups.ts'

type Medians = Record<string, Measured>
type Shown = [title: string, measure: (measured: Measured) => number, better?: 'more']

const naive = (medians: Medians) => medians['async/await and setImmediate']!
/** What Kiruna has to be better than naive by. */
const better = (what: string, ratio: number, medians: Medians, measure: Shown[1]): Target => ({
  what: `${what}, times better than naive,`,
  is: measure(naive(medians)) / measure(medians.kiruna!),
  bound: { atLeast: ratio },
})

const message: Shown[1] = ({ messageP99Ms }) => messageP99Ms
const work: Shown[1] = measured => measured.work

export const lateness: Bench[] = [
  bench('lateness-a', 'chunks', [...peers, 'kirunaWithoutGuard', 'kiruna'], {
    question: `${tasks} background tasks of ${chunkMs} ms chunks`,
    columns: [['chunks/s', work, 'more']],
    why: 'A message waits for the chunk that is running, whatever the library. For the timer the guard keeps the thread free: that costs chunks.',
    targets(medians) {
      const withoutGuard = medians['kiruna without the guard']!
      return [
        {
          what: 'timer p99 without the guard',
          is: withoutGuard.timerP99Ms,
          bound: { atMost: 1.5 * chunkMs },
        },
        {
          what: 'the same, times better than naive,',
          is: naive(medians).timerP99Ms / withoutGuard.timerP99Ms,
          bound: { atLeast: 10 },
        },
        { what: 'timer p99', is: medians.kiruna!.timerP99Ms, bound: { atMost: 0.3 * chunkMs } },
        {
          what: "work, of naive's,",
          is: medians.kiruna!.work / naive(medians).work,
          bound: { atLeast: 0.88 },
        },
      ]
    },
  }),
  bench('lateness-b', 'tinyJobs', [...peers, 'kiruna'], {
    question: `${jobs.toLocaleString('en')} queued jobs of 10 µs`,
    columns: [['jobs/s', work, 'more']],
    why: 'fastq gives the event loop a turn after every job, kiruna after a millisecond or when a message rings.',
    targets: medians => [better('message p99', 50, medians, message)],
  }),
  bench('lateness-c', 'wakeUps', [...peers, 'kiruna'], {
    question: `${waiters.toLocaleString('en')} async functions woken at once, for 2 µs each`,
    columns: [
      ['wake-ups/s', work, 'more'],
      ['GC, % of the time', ({ gcShare }) => gcShare],
      ['longest GC, ms', ({ gcLongestMs }) => gcLongestMs],
    ],
    why: 'What is late here waits for the garbage collector, which moves what 50,000 waiting functions hold: --max-semi-space-size helps.',
    targets: () => [],
  }),
  bench('lateness-d', 'reads', [...peers, 'kiruna'], {
    question: `${loops} loops of cached 16 KiB reads and 50 µs of work, and a read that somebody waits for`,
    columns: [
      ['read p50', ({ readP50Ms }) => readP50Ms],
      ['read p99', ({ readP99Ms }) => readP99Ms],
      ['reads/s', work, 'more'],
    ],
    why: 'With p-queue and fastq four reads at a time, as there are threads, and the one that somebody waits for beside them.',
    targets: medians => [
      better('read p50', 40, medians, ({ readP50Ms }) => readP50Ms),
      better('read p99', 10, medians, ({ readP99Ms }) => readP99Ms),
    ],
  }),
  bench('lateness-e', 'polling', [...peers, 'kiruna'], {
    question: `${computations} computations that ask every 20 µs whether to give way`,
    columns: [['steps/s', work, 'more']],
    why: 'The guard does not know that these would give way to the timer in time: it keeps the thread free before each tick.',
    targets: medians => [better('message p99', 30, medians, message)],
  }),
]

function bench(
  name: string,
  scenario: ScenarioName,
  rivals: RivalName[],
  shown: { question: string; columns: Shown[]; why: string; targets(medians: Medians): Target[] },
): Bench {
  const columns: Shown[] = [
    ['timer p50', ({ timerP50Ms }) => timerP50Ms],
    ['timer p99', ({ timerP99Ms }) => timerP99Ms],
    ['message p50', ({ messageP50Ms }) => messageP50Ms],
    ['message p99', message],
    ...shown.columns,
  ]
  return {
    name,
    async run(): Promise<Table[]> {
      const medians = await alternate<Measured>(scenario, rivals)
      const leftOut = Object.values(medians).map(measured => measured.leftOut)
      return [
        {
          question: `${shown.question}; a timer, and a message from another thread, every 8 ms: how late, in ms`,
          columns: columns.map(([title, , better]): Column => ({ title, better: better ?? 'less' })),
          medians: Object.fromEntries(
            Object.entries(medians).map(([rival, one]) => [
              rival,
              columns.map(([, measure]) => measure(one)),
            ]),
          ),
          targets: shown.targets(medians),
          notes: [
            shown.why,
            `Not counted: samples while another program had the core, of each rival ${Math.min(...leftOut).toFixed(0)} to ${Math.max(...leftOut).toFixed(0)} %.`,
          ],
        },
      ]
    },
  }
}
