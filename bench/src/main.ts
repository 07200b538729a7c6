// npm run bench [-- name …]: every question, or those named; rivals in alternation, medians and ratios.
import { cpus, release } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { implementation } from '@kiruna/core/io'
import { coldScan } from './cold-scan.ts'
import { frameLoop } from './frame-loop.ts'
import { lateness } from './lateness/lateness.ts'
import { mapClose } from './map-close.ts'
import { mappedFiles } from './mapped-files.ts'
import { mappedReads } from './mapped-reads.ts'
import { post } from './post.ts'
import { reads } from './reads/reads.ts'
import { foregroundUnderScan } from './scan/foreground-under-scan.ts'
import { smallFiles } from './small-files/small-files.ts'
import { sockets } from './sockets/sockets.ts'
import { printTable, type Table } from './table.ts'
import { throughput } from './throughput.ts'

/** One question, and the rivals that answer it. */
export interface Bench {
  /** What it is called on the command line. */
  name: string
  run(): Promise<(Row | Table)[]>
}

/** One answer: the same work by Node's own API and by Kiruna, and how many times better Kiruna has to be. */
export interface Row {
  question: string
  unit: string
  /** Whether more or less is better. */
  better: 'more' | 'less'
  /** The median of each rival; Kiruna's is named kiruna. */
  medians: Record<string, number>
  /** The rival that the target is measured against, and the ratio to reach; or, without a rival, a bound. */
  target: { rival: string; ratio: number } | { bound: number }
}

const benches: Bench[] = [
  post,
  throughput,
  ...lateness,
  ...reads,
  smallFiles,
  ...foregroundUnderScan,
  mappedReads,
  mappedFiles,
  coldScan,
  mapClose,
  ...sockets,
  frameLoop,
]

const wanted = process.argv.slice(2)
/** `lateness` stands for lateness-a to lateness-e. */
const isOf = (bench: Bench, name: string) => bench.name === name || bench.name.startsWith(`${name}-`)
const unknown = wanted.filter(name => !benches.some(bench => isOf(bench, name)))
if (unknown.length > 0) {
  console.error(
    `There is no bench ${unknown.join(', ')}. There are: ${benches.map(bench => bench.name).join(', ')}`,
  )
  process.exit(1)
}

setFlagsFromString('--expose-gc')
globalThis.gc = runInNewContext('gc')

const { name, reason } = implementation()
console.log(
  `${cpus()[0]?.model}, ${cpus().length} cores; ${process.platform} ${release()}; Node ${process.version}`,
)
console.log(`I/O by ${name}${reason === undefined ? '' : ` (${reason})`}`)
console.log(`${stolenTime()}\n`)
for (const bench of benches) {
  if (wanted.length > 0 && !wanted.some(name => isOf(bench, name))) continue
  for (const answer of await bench.run()) {
    if ('columns' in answer) printTable(bench.name, answer)
    else print(bench.name, answer)
  }
}

/** What a loop that does nothing else misses of its time: no latency here can be better than that. */
function stolenTime(): string {
  const startMs = performance.now()
  let gaps = 0
  let lostMs = 0
  let longestMs = 0
  for (let lastMs = startMs; lastMs - startMs < 2000; ) {
    const nowMs = performance.now()
    const gapMs = nowMs - lastMs
    lastMs = nowMs
    if (gapMs < 0.3) continue
    gaps++
    lostMs += gapMs
    longestMs = Math.max(longestMs, gapMs)
  }
  const share = `${(lostMs / 20).toFixed(1)} % of the time, ${gaps / 2} times a second`
  return `An idle loop here is interrupted for over 0.3 ms ${share}, for ${longestMs.toFixed(1)} ms at worst`
}

function print(bench: string, { question, unit, better, medians, target }: Row): void {
  console.log(`${bench}: ${question} (${unit}; ${better} is better)`)
  for (const [rival, value] of Object.entries(medians)) {
    const ratio = better === 'more' ? medians.kiruna! / value : value / medians.kiruna!
    const shown = rival === 'kiruna' ? '' : `   kiruna ${ratio.toFixed(2)}x`
    console.log(`  ${rival.padEnd(34)}${value.toFixed(value < 10 ? 3 : 0).padStart(10)}${shown}`)
  }
  console.log(`  ${verdict(better, medians, target)}\n`)
}

function verdict(better: Row['better'], medians: Row['medians'], target: Row['target']): string {
  const kiruna = medians.kiruna!
  if ('bound' in target) {
    const reached = better === 'more' ? kiruna >= target.bound : kiruna <= target.bound
    return `target: at ${better === 'more' ? 'least' : 'most'} ${target.bound}: ${reached ? 'reached' : 'MISSED'}`
  }
  const rival = medians[target.rival]!
  const ratio = better === 'more' ? kiruna / rival : rival / kiruna
  return `target: ${target.ratio}x ${target.rival}: ${ratio >= target.ratio ? 'reached' : 'MISSED'}, ${ratio.toFixed(2)}x`
}
