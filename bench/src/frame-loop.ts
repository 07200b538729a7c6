import { fileURLToPath } from 'node:url'
import type { Bench, Row } from './main.ts'
import { measuredBy, median } from './rivals.ts'

const rounds = 5
/** Of each half: a p99 of fewer opened files would be the second worst of them. */
const seconds = 20
const main = fileURLToPath(new URL('../../examples/frame-loop/src/main.ts', import.meta.url))

/** What the example prints with --json, as far as it is wanted here. */
interface Report {
  naive: Half
  kiruna: Half
}

interface Half {
  frames: { missed: number; latenessMs: { p99: number } }
  opens: { latencyMs: { p99: number } }
  files: { perSecond: number }
  gc: { longestMs: number }
}

/** The example itself: each round runs its two halves one after the other. */
export const frameLoop: Bench = {
  name: 'frame-loop',
  async run() {
    const reports: Report[] = []
    for (let round = 0; round < rounds; round++) {
      reports.push(await measuredBy(process.execPath, [main, '--json', '--seconds', String(seconds)]))
    }
    const row = (
      question: string,
      unit: string,
      better: Row['better'],
      measure: (half: Half) => number,
      target: Row['target'],
    ): Row => ({
      question,
      unit,
      better,
      medians: {
        naive: median(reports.map(report => measure(report.naive))),
        kiruna: median(reports.map(report => measure(report.kiruna))),
      },
      target,
    })
    const naive = (ratio: number) => ({ rival: 'naive', ratio })
    return [
      row('frame lateness, p99', 'ms', 'less', half => half.frames.latenessMs.p99, naive(8)),
      row('file open, p99', 'ms', 'less', half => half.opens.latencyMs.p99, naive(5)),
      row('files indexed', 'a second', 'more', half => half.files.perSecond, naive(1)),
      row('frames missed', `in ${seconds} s`, 'less', half => half.frames.missed, { bound: 0 }),
    ]
  },
}
