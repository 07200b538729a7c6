import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Bench } from '../main.ts'
import { alternate, measuredBy, onBusyMachine, type Round } from '../rivals.ts'
import type { Table } from '../table.ts'

const files = 10_000
const atOnce = 64
const round = fileURLToPath(new URL('./round.ts', import.meta.url))
const bun = process.env.KIRUNA_BUN

/** What an editor does with a project: every file, whole. */
export const smallFiles: Bench = {
  name: 'small-files',
  async run() {
    const folder = mkdtempSync(join(tmpdir(), 'kiruna-bench-'))
    let expectedBytes = 0
    for (let i = 0; i < files; i++) {
      const lengthBytes = 256 + ((i * 7919) % 7936) // 256 bytes to 8 KiB
      writeFileSync(join(folder, `${i}.txt`), Buffer.alloc(lengthBytes, 'kiruna '))
      expectedBytes += lengthBytes
    }
    const by = (rival: string, program: string) => async () => {
      const given = [round, rival, folder, `${files}`, `${atOnce}`]
      const { bytes, rate } = await measuredBy<{ bytes: number; rate: number }>(program, given)
      if (bytes !== expectedBytes) throw new Error(`${bytes} bytes were read of ${expectedBytes}`)
      return rate
    }
    const rivals: Record<string, Round> = {
      [readFile]: by('readFile', process.execPath),
      [readFileSync]: by('readFileSync', process.execPath),
      ...(bun !== undefined && { [bunBytes]: by('bun', bun) }),
      kiruna: by('kiruna', process.execPath),
    }
    try {
      const measure = () => alternate(rivals, 5)
      return [
        table(await measure(), 'the other cores idle'),
        table(await onBusyMachine(measure), 'the other cores busy'),
      ]
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
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
    question: `${files.toLocaleString('en')} small files, readMany, user-visible, ${machine}`,
    columns: [{ title: 'files a second', better: 'more' }],
    medians: Object.fromEntries(Object.entries(rates).map(([name, rate]) => [name, [rate]])),
    targets,
    ...(bun === undefined && { notes: ['Bun is not among them: KIRUNA_BUN does not name one.'] }),
  }
}
