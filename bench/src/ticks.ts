import { fileURLToPath } from 'node:url'
import { every } from '@kiruna/core'
import type { Bench } from './main.ts'
import { measuredBy, median } from './rivals.ts'
import type { Column, Table } from './table.ts'

const periodsMs = [1, 16]
const round = fileURLToPath(new URL('./ticks-round.ts', import.meta.url))
const columns: Column[] = [
  { title: '% of a processor', better: 'less' },
  { title: 'late, p50 µs', better: 'less' },
  { title: 'late, p99 µs', better: 'less' },
]

/** What it costs that something ticks, with nothing else to do, and how late the ticks are. */
export const ticks: Bench = {
  name: 'ticks',
  async run() {
    const tables: Table[] = []
    for (const periodMs of periodsMs) {
      const rounds: Record<string, number[][]> = { setInterval: [], kiruna: [] }
      for (let i = 0; i < 3; i++)
        for (const [rival, measures] of Object.entries(rounds)) measures.push(await measure(rival, periodMs))
      const medians = Object.fromEntries(
        Object.entries(rounds).map(([rival, measures]) => [
          rival,
          columns.map((_, at) => median(measures.map(one => one[at]!))),
        ]),
      )
      tables.push({
        question: `a tick every ${periodMs.toFixed(1)} ms`,
        columns,
        medians,
        targets: [
          { what: '% of a processor', is: medians.kiruna![0]!, bound: { atMost: periodMs < 2 ? 30 : 5 } },
        ],
      })
    }
    return tables
  },
  own: compare =>
    compare(
      periodsMs.map(periodMs => ({
        question: `a tick every ${periodMs.toFixed(1)} ms`,
        columns,
        run: env => measuredBy(process.execPath, [round, `${periodMs}`], env),
      })),
    ),
}

/** Of three seconds. */
export async function measure(rival: string, periodMs: number): Promise<number[]> {
  const lateMs: number[] = []
  const stop = rival === 'kiruna' ? tickByKiruna(periodMs, lateMs) : tickByNode(periodMs, lateMs)
  await new Promise(resolve => setTimeout(resolve, 300))
  lateMs.length = 0
  const [before, startMs] = [process.cpuUsage(), performance.now()]
  await new Promise(resolve => setTimeout(resolve, 3000))
  const { user, system } = process.cpuUsage(before)
  const busy = (user + system) / 1000 / (performance.now() - startMs)
  stop()
  lateMs.sort((a, b) => a - b)
  const late = (share: number) => lateMs[Math.floor(lateMs.length * share)]! * 1000
  return [busy * 100, late(0.5), late(0.99)]
}

function tickByKiruna(periodMs: number, lateMs: number[]): () => void {
  const ticker = every(periodMs, late => lateMs.push(late))
  return () => ticker.stop()
}

/** On a grid as well: late is what it is after its grid point. */
function tickByNode(periodMs: number, lateMs: number[]): () => void {
  const startMs = performance.now()
  let count = 0
  const timer = setInterval(() => {
    const late = performance.now() - startMs - ++count * periodMs
    count += Math.max(0, Math.floor(late / periodMs))
    lateMs.push(late)
  }, periodMs)
  return () => clearInterval(timer)
}
