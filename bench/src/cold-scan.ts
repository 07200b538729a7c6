import { setImmediate as turn } from 'node:timers/promises'
import { type Mapping, map } from '@kiruna/core/mmap'
import { makeCold, makeFile } from './cold-file.ts'
import type { Bench, Row } from './main.ts'
import { alternate, median } from './rivals.ts'
import { Turns } from './turns.ts'

const MiB = 1024 * 1024
const fileBytes = 1024 * MiB
/** Less than a millisecond's work, also where a page that is new to the machine costs its host a moment. */
const stepBytes = MiB / 4
const rounds = 5
const idle = 'nothing at all, for a second'

/** A gigabyte that is not in memory, looked at page by page, 256 KiB a turn: for how long does the thread stand still? */
export const coldScan: Bench = {
  name: 'cold-scan',
  async run() {
    using file = makeFile('cold-scan', fileBytes)
    const measured: Record<string, { turns: number[]; longestMs: number[]; totalMs: number[] }> = {}
    const round = (name: string, scan: (mapping: Mapping) => Promise<number>) => async () => {
      makeCold(file.path)
      const mapping = await map(file.path, 'user-visible')
      const turns = new Turns()
      const sum = await scan(mapping)
      const totalMs = turns.end()
      if (sum === 0) throw new Error('nothing was read')
      await mapping.close()
      const all = (measured[name] ??= { turns: [], longestMs: [], totalMs: [] })
      all.turns.push(turns.over1Ms)
      all.longestMs.push(turns.longestMs)
      all.totalMs.push(totalMs)
      return totalMs
    }
    await alternate(
      {
        [idle]: round(idle, nothing),
        directly: round('directly', directly),
        kiruna: round('kiruna', behindPrefault),
      },
      rounds,
    )
    const medians = (what: 'turns' | 'longestMs' | 'totalMs') =>
      Object.fromEntries(Object.entries(measured).map(([name, all]) => [name, median(all[what].slice(1))]))
    const { [idle]: _, ...totals } = medians('totalMs')
    const row = (question: string, unit: string, values: Row['medians'], target: Row['target']): Row => ({
      question: `a cold GiB, mapped, scanned by chunks: ${question}`,
      unit,
      better: 'less',
      medians: values,
      target,
    })
    return [
      row('turns of over 1 ms', 'turns', medians('turns'), { rival: 'directly', ratio: 30 }),
      row('longest turn', 'ms', medians('longestMs'), { bound: 2 }),
      row('in all', 'ms', totals, { rival: 'directly', ratio: 0.95 }),
    ]
  },
}

/** What is late here is the machine's own. */
async function nothing(): Promise<number> {
  for (const endMs = performance.now() + 1000; performance.now() < endMs; ) await turn()
  return 1
}

async function directly(mapping: Mapping): Promise<number> {
  let sum = 0
  for (let at = 0; at < mapping.byteLength; at += stepBytes) {
    sum += look(mapping.view(at, stepBytes))
    await turn()
  }
  return sum
}

async function behindPrefault(mapping: Mapping): Promise<number> {
  let sum = 0
  for await (const { bytes } of mapping.chunks('user-visible', { chunkBytes: stepBytes })) {
    sum += look(bytes)
    await turn()
  }
  return sum
}

function look(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 4096) sum += bytes[i]!
  return sum
}
