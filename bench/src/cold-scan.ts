import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { map } from '@kiruna/core/mmap'
import { makeCold, makeFile } from './cold-file.ts'
import type { Bench } from './main.ts'
import { inTurn, median } from './rivals.ts'
import type { Table } from './table.ts'
import { throttleDisk } from './throttled-disk.ts'
import { Turns } from './turns.ts'

const MiB = 1024 * 1024
const fileBytes = 1024 * MiB
/** Of a disk that is slower than the machine's. */
const slowBytes = 256 * MiB
const slowBytesASecond = 100e6
/** Less than a millisecond's work, also where a page that is new to the machine costs its host a moment. */
const stepBytes = MiB / 4
const rounds = 5
/** What is late here is the machine's own. */
const machine = 'nothing, while dd reads it'

/** A file that is not in memory, looked at page by page, 256 KiB a turn: for how long does the thread stand still? */
export const coldScan: Bench = {
  name: 'cold-scan',
  async run() {
    const fast = await withFile(fileBytes, path => scans('a cold GiB, mapped, scanned by chunks', path))
    try {
      const slow = await withFile(slowBytes, async path => {
        using _ = throttleDisk(path, slowBytesASecond)
        return await scans('256 MiB on a disk of 100 MB a second', path)
      })
      return [fast, slow]
    } catch (error) {
      console.log(`cold-scan: no disk of 100 MB a second: ${(error as Error).message}\n`)
      return [fast]
    }
  },
}

async function withFile<T>(lengthBytes: number, work: (path: string) => Promise<T>): Promise<T> {
  using file = makeFile('cold-scan', lengthBytes)
  return await work(file.path)
}

async function scans(question: string, path: string): Promise<Table> {
  const cold = (scan: (path: string) => Promise<Turns>) => () => {
    makeCold(path)
    return scan(path)
  }
  const rivals = { [machine]: cold(read), directly: cold(directly), kiruna: cold(behindPrefault) }
  const measured = await inTurn(rivals, rounds)
  const medians = Object.fromEntries(
    Object.entries(measured).map(([name, all]) => [name, measures.map(({ of }) => median(all.map(of)))]),
  )
  const { [machine]: own, directly: direct, kiruna } = medians
  const [over1Ms, longestMs, totalMs] = measures.map((_, i) => ({ kiruna: kiruna![i]!, direct: direct![i]! }))
  return {
    question,
    columns: measures.map(({ title }) => ({ title, better: 'less' })),
    medians: { [machine]: [...own!.slice(0, 2), Number.NaN], directly: direct!, kiruna: kiruna! },
    targets: [
      {
        what: 'turns of over 1 ms, of scanning directly,',
        is: over1Ms!.kiruna / over1Ms!.direct,
        bound: { atMost: 1 / 30 },
      },
      { what: 'the longest turn, ms,', is: longestMs!.kiruna, bound: { atMost: 2 } },
      {
        what: 'in all, of scanning directly,',
        is: totalMs!.kiruna / totalMs!.direct,
        bound: { atMost: 1.05 },
      },
    ],
  }
}

const measures: { title: string; of(turns: Turns): number }[] = [
  { title: 'turns over 1 ms', of: turns => turns.over1Ms },
  { title: 'the longest, ms', of: turns => turns.longestMs },
  { title: 'in all, ms', of: turns => turns.totalMs },
]

async function read(path: string): Promise<Turns> {
  const dd = spawn('dd', [`if=${path}`, 'of=/dev/null', 'bs=1M'], { stdio: 'ignore' })
  const ended = once(dd, 'exit')
  await once(dd, 'spawn')
  const turns = new Turns()
  await ended
  turns.end()
  return turns
}

async function directly(path: string): Promise<Turns> {
  await using mapping = await map(path, 'user-visible')
  const turns = new Turns()
  for (let at = 0; at < mapping.byteLength; at += stepBytes) {
    look(mapping.view(at, stepBytes))
    await turn()
  }
  turns.end()
  return turns
}

async function behindPrefault(path: string): Promise<Turns> {
  await using mapping = await map(path, 'user-visible')
  const turns = new Turns()
  for await (const { bytes } of mapping.chunks('user-visible', { chunkBytes: stepBytes })) {
    look(bytes)
    await turn()
  }
  turns.end()
  return turns
}

/** @throws Error the file is zeros, or not there */
function look(bytes: Uint8Array): void {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 4096) sum += bytes[i]!
  if (sum === 0) throw new Error('nothing was read')
}
