import { fileURLToPath } from 'node:url'
import { measuredBy, median } from '../rivals.ts'
import type { RivalName, ScenarioName } from './round.ts'

const rounds = 5
const round = fileURLToPath(new URL('./round.ts', import.meta.url))

/** What a program can use today. */
export const peers: RivalName[] = [
  'naive',
  'react',
  'polyfill',
  'pQueue',
  'pQueueWithImmediates',
  'fastqWithImmediates',
]

/** How they are called in a table. */
const titles: Record<RivalName, string> = {
  naive: 'async/await and setImmediate',
  react: "React's scheduler",
  polyfill: 'scheduler-polyfill',
  pQueue: 'p-queue',
  pQueueWithImmediates: 'p-queue with immediates',
  fastqWithImmediates: 'fastq with immediates',
  kirunaWithoutGuard: 'kiruna without the guard',
  kiruna: 'kiruna',
}

/**
 * Rounds in alternation, each in a process of its own: a polyfill patches globalThis, and garbage is left behind.
 * @returns the median of each measure of each rival
 */
export async function alternate<Measures extends { [name in keyof Measures]: number }>(
  scenario: ScenarioName,
  rivals: RivalName[],
): Promise<Record<string, Measures>> {
  const measured = new Map<RivalName, Measures[]>(rivals.map(rival => [rival, []]))
  for (let i = 0; i < rounds; i++) {
    for (const rival of rivals) {
      const given = ['--expose-gc', round, scenario, rival]
      // React's development build checks more.
      const measures = await measuredBy<Measures>(process.execPath, given, { NODE_ENV: 'production' })
      measured.get(rival)!.push(measures)
    }
  }
  return Object.fromEntries(Array.from(measured, ([rival, all]) => [titles[rival], medians(all)]))
}

function medians<Measures extends { [name in keyof Measures]: number }>(all: Measures[]): Measures {
  const names = Object.keys(all[0]!) as (keyof Measures)[]
  return Object.fromEntries(names.map(name => [name, median(all.map(one => one[name]))])) as Measures
}
