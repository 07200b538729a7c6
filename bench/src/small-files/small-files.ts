import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Bench } from '../main.ts'
import { alternate, measuredBy, onBusyMachine, type Round } from '../rivals.ts'
import type { Column, Table } from '../table.ts'

const files = 10_000
const atOnce = 64
const round = fileURLToPath(new URL('./round.ts', import.meta.url))
const bun = process.env.KIRUNA_BUN

/** What an editor does with a project: every file, whole. */
export const smallFiles: Bench = {
  name: 'small-files',
  run: () =>
    withFiles(async by => {
      const rivals: Record<string, Round> = {
        [readFile]: () => by('readFile', process.execPath),
        [readFileSync]: () => by('readFileSync', process.execPath),
        ...(bun !== undefined && { [bunBytes]: () => by('bun', bun) }),
        kiruna: () => by('kiruna', process.execPath),
      }
      const measure = () => alternate(rivals, 5)
      return [
        table(await measure(), 'the other cores idle'),
        table(await onBusyMachine(measure), 'the other cores busy'),
      ]
    }),
  own: compare =>
    withFiles(by =>
      compare([{ question, columns, run: async env => [await by('kiruna', process.execPath, env)] }]),
    ),
}

const question = `${files.toLocaleString('en')} small files, readMany, user-visible`
const columns: Column[] = [{ title: 'files a second', better: 'more' }]

/** The files a second of a rival's round. */
type FilesASecond = (rival: string, program: string, env?: Record<string, string>) => Promise<number>

async function withFiles<T>(use: (by: FilesASecond) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-bench-'))
  try {
    let expectedBytes = 0
    for (let i = 0; i < files; i++) {
      const lengthBytes = 256 + ((i * 7919) % 7936) // 256 bytes to 8 KiB
      writeFileSync(join(folder, `${i}.txt`), Buffer.alloc(lengthBytes, 'kiruna '))
      expectedBytes += lengthBytes
    }
    return await use(async (rival, program, env) => {
      const given = [round, rival, folder, `${files}`, `${atOnce}`]
      const { bytes, rate } = await measuredBy<{ bytes: number; rate: number }>(program, given, env)
      if (bytes !== expectedBytes) throw new Error(`${bytes} bytes were read of ${expectedBytes}`)
      return rate
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const readFile = `fs.promises.readFile, ${atOnce} at once`
const readFileSync = 'fs.readFileSync, which blocks'
const bunBytes = `Bun.file().bytes(), ${atOnce} at once`

function table(rates: Record<string, number>, machine: string): Table {
  const times = (rival: string) => rates.kiruna! / rates[rival]!
  const targets: Table['targets'] = [
    { what: 'times fs.promises.readFile', is: times(readFile), bound: { atLeast: 5 } },
    { what: 'times fs.readFileSync', is: times(readFileSync), bound: { atLeast: 1.1 } },
  ]
  if (bun !== undefined) targets.push({ what: 'times Bun', is: times(bunBytes), bound: { atLeast: 1.1 } })
  return {
    question: `${question}, ${machine}`,
    columns,
    medians: Object.fromEntries(Object.entries(rates).map(([name, rate]) => [name, [rate]])),
    targets,
    ...(bun === undefined && { notes: ['Bun is not among them: KIRUNA_BUN does not name one.'] }),
  }
}
