import { fork } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { compare } from './compare.ts'
import { changedSince, FolderError, list, type WarmFolder, warmUp } from './folder.ts'
import { megabytes, plural } from './format.ts'
import { conclusion, type Report, reportOf } from './report.ts'
import type { Order, Result } from './run.ts'
import { bar, hideCursor, Screen, showCursor } from './screen.ts'
import { table } from './table.ts'
import { wrap } from './wrap.ts'

const ownModules = fileURLToPath(new URL('../../../node_modules', import.meta.url))

const help = `A 60 Hz frame, a user who opens a file every 50 ms, and an indexer that reads every file of
a folder: three things at once in one thread, first with plain async/await, then with Kiruna.

usage: npm start -- [folder] [options]

  folder        what is indexed; without one, this workspace's node_modules
  --seconds N   how long each half runs at least, from 0.1 to 3600; 8
  --json        prints one JSON object instead of the table
  --help        prints this

A half ends when its time is up and the whole folder has been indexed once.`

interface Options {
  folder: string
  seconds: number
  json: boolean
}

/** What is wrong with the command line or the folder; the message is for the user. */
class UsageError extends Error {}

const columns = 79
const live = process.stderr.isTTY && process.env.TERM !== 'dumb'

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof UsageError || error instanceof FolderError)) throw error
  console.error(`frame-loop: ${error.message}`)
  process.exitCode = 1
}

async function main(args: string[]): Promise<void> {
  const options = parse(args)
  if (options === undefined) return console.log(help)
  const { seconds, json } = options
  if (live) takeTerminal()
  const listed = await list(options.folder)
  say(`Reading ${plural(listed.paths.length, 'file')} once, so that both halves find them in memory`)
  const folder = await warm(listed)
  say(`Naive: node:fs/promises, async/await, setImmediate between files (${seconds} s or more)`)
  const naive = await measure('naive', folder, seconds)
  say(`Kiruna: the same work, a priority for each task (${seconds} s or more)`)
  const kiruna = await measure('kiruna', folder, seconds)

  const comparison = compare(folder.paths, naive, kiruna, await changedSince(folder))
  const report = reportOf(folder, seconds, naive, kiruna, comparison)
  console.log(json ? JSON.stringify(report) : text(report))
  if (comparison.equal) return
  const where = comparison.differing === undefined ? '' : `, first in ${comparison.differing}`
  console.error(`frame-loop: the two indexes are not equal${where}`)
  process.exitCode = 1
}

/** @returns undefined: help is wanted */
function parse(args: string[]): Options | undefined {
  const { values, positionals } = parsed(args)
  if (values.help) return undefined
  if (positionals.length > 1) throw new UsageError('give one folder at most (--help tells more)')
  const seconds = Number(values.seconds)
  if (!(seconds >= 0.1 && seconds <= 3600)) {
    throw new UsageError(`--seconds takes a number from 0.1 to 3600, not '${values.seconds}'`)
  }
  return { folder: positionals[0] ?? ownModules, seconds, json: values.json }
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        seconds: { type: 'string', default: '8' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    // Its first sentence is the clear one.
    throw new UsageError(`${(error as Error).message.split(/\.\s|\n/)[0]} (--help tells more)`)
  }
}

async function warm(folder: Parameters<typeof warmUp>[0]): Promise<WarmFolder> {
  const screen = new Screen(live)
  let drawnMs = 0
  const warmed = await warmUp(folder, share => {
    if (performance.now() - drawnMs < 100) return
    drawnMs = performance.now()
    screen.show([bar(share)])
  })
  screen.clear()
  return warmed
}

/** Runs one half in a fresh process, so that heap and compiled code are the same for both. */
async function measure(half: Order['half'], folder: WarmFolder, seconds: number): Promise<Result> {
  const { paths, openable } = folder
  const order: Order = { half, paths, openable, seconds, live }
  const child = fork(new URL('half.ts', import.meta.url), {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  process.on('exit', () => child.kill('SIGKILL'))
  let result: Result | undefined
  child.on('message', message => {
    result = message as Result
  })
  child.send(order)
  const [code, signal] = await once(child, 'close')
  if (result === undefined) {
    throw new UsageError(`the ${half} half ended early, with ${signal ?? `exit code ${code}`}`)
  }
  return result
}

function text(report: Report): string {
  const { folder, indexes, implementation, seconds } = report
  const { name, reason } = implementation
  const notes = [
    `The indexes are ${indexes.equal ? 'equal' : 'NOT equal'}: ${plural(indexes.compared, 'file')}, ${plural(indexes.words, 'word')}.`,
    ...noteIf(
      indexes.leftOut,
      `${plural(indexes.leftOut, 'file')} left out, unreadable or changed meanwhile.`,
    ),
    ...noteIf(folder.foldersFailed, `${plural(folder.foldersFailed, 'folder')} could not be listed.`),
    ...noteIf(report.naive.opens.failed + report.kiruna.opens.failed, 'Some files could not be opened.'),
    `Kiruna's I/O: ${name}${reason === undefined ? '' : `, because ${reason}`}.`,
  ]
  return [
    '',
    wrap(
      `${plural(folder.files, 'file')} of ${shown(folder.path)} (${megabytes(folder.bytes)} MB, all in memory) ` +
        `were indexed in the background, over and over for ${seconds} s or more. Meanwhile: how late did each ` +
        'frame start, and how long did a user wait for a file? ' +
        'p50: half of them were better. p99: 99 of 100 were better.',
      columns,
    ),
    '',
    table(report),
    '',
    wrap(notes.join(' '), columns),
    '',
    wrap(conclusion(report), columns),
  ].join('\n')
}

function noteIf(number: number, note: string): string[] {
  return number > 0 ? [note] : []
}

function say(line: string): void {
  console.error(line)
}

/** A path as the user would write it. */
function shown(path: string): string {
  const fromHere = relative(process.cwd(), path)
  return fromHere === '' || fromHere.startsWith('..') ? path : fromHere
}

/** Hides the cursor, and gives it back however this ends. */
function takeTerminal(): void {
  process.stderr.write(hideCursor)
  process.on('exit', () => process.stderr.write(showCursor))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => process.exit(128 + constants.signals[signal]))
  }
}
