import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'

/** One round of a rival: does its work and returns its measure, of which more is better or less, as the bench says. */
export type Round = () => Promise<number>

/**
 * Runs rivals in alternation, so that a noisy machine is equally unkind to all. No collection is forced in between: it
 * shrinks the young generation, and the next round would measure how that grows again.
 * @param uncounted so many rounds of each come first and do not count; 0 where each round is a process of its own
 * @returns what each has measured, round by round
 */
export async function inTurn<Name extends string, Measures>(
  rivals: Record<Name, () => Promise<Measures>>,
  rounds: number,
  uncounted = 1,
): Promise<Record<Name, Measures[]>> {
  const names = Object.keys(rivals) as Name[]
  const measured = Object.fromEntries(names.map(name => [name, [] as Measures[]])) as Record<Name, Measures[]>
  for (let round = -uncounted; round < rounds; round++) {
    for (const name of names) {
      const measures = await rivals[name]()
      if (round >= 0) measured[name].push(measures)
    }
  }
  return measured
}

/** The median of each rival's rounds. */
export async function alternate<Name extends string>(
  rivals: Record<Name, Round>,
  rounds: number,
): Promise<Record<Name, number>> {
  const measured = await inTurn(rivals, rounds)
  const medians = Object.entries<number[]>(measured).map(([name, values]) => [name, median(values)])
  return Object.fromEntries(medians) as Record<Name, number>
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The smallest value that so many per cent of them do not exceed; NaN of none. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? Number.NaN
}

/** Runs a round in a process of its own, which prints what it has measured as JSON. */
export async function measuredBy<Measures>(
  program: string,
  given: string[],
  env: Record<string, string> = {},
): Promise<Measures> {
  const options = { env: { ...process.env, ...env }, maxBuffer: 2 ** 27 }
  const { stdout } = await promisify(execFile)(program, given, options)
  return JSON.parse(stdout)
}

/**
 * Does the work while every core but one has something else to do, as when an app's renderer or a build is running:
 * what is spread over threads then shows its whole cost.
 */
export async function onBusyMachine<T>(work: () => Promise<T>): Promise<T> {
  const busy = Array.from({ length: availableParallelism() - 1 }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  const kill = () => {
    for (const one of busy) one.kill('SIGKILL')
  }
  process.on('exit', kill)
  try {
    await Promise.all(busy.map(one => once(one, 'spawn')))
    return await work()
  } finally {
    process.off('exit', kill)
    kill()
  }
}
