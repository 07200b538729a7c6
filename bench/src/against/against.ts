import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Bench, OwnRound } from '../main.ts'
import { median, percentile } from '../rivals.ts'
import { padded, shown } from '../table.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
/** A figure with a lower ratio is named: WORSE, or unclear where the quartiles reach the ratio of 1. */
const tolerated = 0.97

/**
 * Runs the benches' own rounds in alternation on this build and on another commit's, with the bench code of this one: ours,
 * theirs, theirs, ours …
 * @param revision as git names it
 */
export async function against(revision: string, benches: Bench[], rounds: number): Promise<void> {
  const theirs = buildOf(revision)
  for (const { name, own } of benches) {
    if (own === undefined) console.log(`${name}: not compared, its rounds are not Kiruna’s alone\n`)
    await own?.(async ownRounds => {
      for (const round of ownRounds) print(name, revision, round, await measure(round, theirs, rounds))
    })
  }
}

/** Checks the commit out beside us and builds it there, as its own scripts do. */
function buildOf(revision: string): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()
  const commit = git('rev-parse', '--verify', `${revision}^{commit}`)
  const folder = join(root, 'node_modules/.cache/against', commit)
  console.log(`Building ${revision} in ${folder}\n`)
  if (!existsSync(join(folder, 'package.json'))) {
    git('worktree', 'prune') // of those that went with node_modules
    git('worktree', 'add', '--detach', folder, commit)
  }
  execFileSync(process.execPath, ['scripts/run.mjs', 'build'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  return folder
}

interface Measured {
  ours: number[]
  theirs: number[]
}

async function measure({ columns, run }: OwnRound, theirs: string, rounds: number): Promise<Measured[]> {
  const measured = columns.map((): Measured => ({ ours: [], theirs: [] }))
  const folders = { ours: root, theirs }
  for (let round = -1; round < rounds; round++) {
    const order = ['ours', 'theirs'] as const
    for (const whose of round % 2 === 0 ? order : order.toReversed()) {
      const figures = await run(environment(folders[whose]))
      if (round >= 0) figures.forEach((figure, i) => void measured[i]![whose].push(figure)) // the first ones were cold
    }
  }
  return measured
}

/** What a round runs in that has the packages of the build in `folder`. */
function environment(folder: string): Record<string, string> {
  const hook = new URL('resolve.ts', import.meta.url).href
  return { KIRUNA_BUILD: folder, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${hook}` }
}

function print(bench: string, revision: string, { question, columns }: OwnRound, measured: Measured[]): void {
  const lines = [['', 'this build', revision, 'times better', 'quartiles', '']]
  for (const [i, { title, better }] of columns.entries()) {
    const { ours, theirs } = measured[i]!
    const ratios = ours.map((value, round) =>
      better === 'more' ? value / theirs[round]! : theirs[round]! / value,
    )
    const ratio = median(ratios)
    const [lower, upper] = [percentile(ratios, 25), percentile(ratios, 75)]
    const verdict = ratio >= tolerated ? '' : upper < 1 ? 'WORSE' : 'unclear'
    const spread = `${lower.toFixed(3)} to ${upper.toFixed(3)}`
    lines.push([title, shown(median(ours)), shown(median(theirs)), ratio.toFixed(3), spread, verdict])
  }
  console.log(`${bench}: ${question}`)
  for (const line of padded(lines)) console.log(line.trimEnd())
  console.log(
    `  Medians; times better by pairs of rounds, ${measured[0]!.ours.length} of them, one right after the other.\n`,
  )
}
