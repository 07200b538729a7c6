// npm run bench [-- name …]: every question, or those named; rivals in alternation, medians and ratios.
// npm run bench -- name … --against REV [--rounds N]: Kiruna alone, in alternation with another commit's build of it.
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { implementation } from '@kiruna/core/io'
import { against } from './against/against.ts'
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
import { type Column, printTable, type Table } from './table.ts'
import { throughput } from './throughput.ts'
import { ticks } from './ticks.ts'

/** One question, and the rivals that answer it. */
export interface Bench {
  /** What it is called on the command line. */
  name: string
  run(): Promise<(Row | Table)[]>
  /** Kiruna's rounds alone, for --against: `compare` runs them while what they need is there. */
  own?(compare: (rounds: OwnRound[]) => Promise<void>): Promise<void>
}

/** One round of Kiruna's, of a few seconds, in processes of its own. */
export interface OwnRound {
  question: string
  columns: Column[]
  /**
   * @param env what these processes run in: it says which build they have
   * @returns a figure for each column
   */
  run(env: Record<string, string>): Promise<number[]>
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
  ticks,
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

const usage = `usage: npm run bench -- [name …]
       npm run bench -- [name …] --against REV [--rounds N]

Names: ${benches.map(bench => bench.name).join(', ')};
what they have in common before a dash stands for all of them.
--against REV: Kiruna alone, in alternation with the build of another commit, for ${benches
  .filter(bench => bench.own !== undefined)
  .map(bench => bench.name)
  .join(', ')}.
--rounds N: so many pairs of rounds, 8 unless you say otherwise; more on a machine that is busy.
WORSE is what has lost over 3 %, and lost in three pairs of four; unclear what has lost as much, but not so often.`

const { values: options, positionals: wanted } = parse()
/** `lateness` stands for lateness-a to lateness-e. */
const isOf = (bench: Bench, name: string) => bench.name === name || bench.name.startsWith(`${name}-`)
const unknown = wanted.filter(name => !benches.some(bench => isOf(bench, name)))
if (unknown.length > 0) fail(`There is no bench ${unknown.join(', ')}.`)
const rounds = Number(options.rounds)
if (!(Number.isInteger(rounds) && rounds > 0)) fail('--rounds is a whole number, 1 or more.')
const chosen = benches.filter(bench => wanted.length === 0 || wanted.some(name => isOf(bench, name)))

setFlagsFromString('--expose-gc')
globalThis.gc = runInNewContext('gc')

const { name, reason } = implementation()
console.log(
  `${cpus()[0]?.model}, ${cpus().length} cores; ${process.platform} ${release()}; Node ${process.version}`,
)
console.log(`I/O by ${name}${reason === undefined ? '' : ` (${reason})`}`)
console.log(`${stolenTime()}\n`)
if (options.against !== undefined) await against(options.against, chosen, rounds)
else {
  for (const bench of chosen) {
    for (const answer of await bench.run()) {
      if ('columns' in answer) printTable(bench.name, answer)
      else print(bench.name, answer)
    }
  }
}

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { against: { type: 'string' }, rounds: { type: 'string', default: '8' } },
    })
  } catch (error) {
    return fail((error as Error).message)
  }
}

function fail(reason: string): never {
  console.error(`${reason}\n\n${usage}`)
  process.exit(1)
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
