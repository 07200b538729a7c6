import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Bench, OwnRound } from '../main.ts'
import { measuredBy, median, onBusyMachine } from '../rivals.ts'
import type { Column, Table, Target } from '../table.ts'
import { largeReads } from './large.ts'

const rounds = 5
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

interface Measures {
  perSecond: number
  cpuMicroseconds: number
}

type Cache = 'cached' | 'direct'

/** Random reads of 4 KiB: cached, what is left is what the API costs; past the cache, whether it keeps the disk busy. */
export const reads: Bench[] = [
  {
    name: 'reads-cached',
    run: () =>
      withFile(64, async path => [
        ...(await tables(path, [1, 8, 32, 128], 'cached', 'the other cores idle')),
        ...(await onBusyMachine(() => tables(path, [32], 'cached', 'the other cores busy'))),
      ]),
    own: compare => withFile(64, path => compare([1, 32, 128].map(depth => ownRound(path, depth, 'cached')))),
  },
  {
    name: 'reads-large',
    run: () => withFile(256, path => largeReads(path, 256 * 1024 * 1024)),
  },
  {
    name: 'reads-direct',
    run: () => withFile(1024, path => tables(path, [32], 'direct', 'O_DIRECT')),
    own: compare => withFile(1024, path => compare([ownRound(path, 32, 'direct')])),
  },
]

const columns: Column[] = [
  { title: 'thousands a second', better: 'more' },
  { title: 'CPU µs each', better: 'less' },
]

function ownRound(path: string, depth: number, cache: Cache): OwnRound {
  return {
    question: `4 KiB reads, user-blocking, ${depth} at once, ${cache}`,
    columns,
    async run(env) {
      const { perSecond, cpuMicroseconds } = await node('kiruna', 'kiruna', env).run(path, depth, cache)
      return [perSecond / 1000, cpuMicroseconds]
    },
  }
}

interface Rival {
  name: string
  run(path: string, depth: number, cache: Cache): Promise<Measures>
}

async function tables(path: string, depths: number[], cache: Cache, setting: string): Promise<Table[]> {
  const rivals: Rival[] = [
    node('fs.read with a callback', 'callback'),
    node('the same, UV_USE_IO_URING=1', 'callback', { UV_USE_IO_URING: '1' }),
    node('FileHandle.read', 'handle'),
    node('fs.readSync, which blocks', 'sync'),
    ...limit(),
    node('kiruna', 'kiruna'),
  ]
  const all: Table[] = []
  for (const depth of depths) {
    const measured = new Map<string, Measures[]>(rivals.map(({ name }) => [name, []]))
    for (let round = 0; round < rounds; round++)
      for (const { name, run } of rivals) measured.get(name)!.push(await run(path, depth, cache))
    const of = (name: string, measure: keyof Measures) => {
      const values = measured.get(name)
      return values === undefined ? Number.NaN : median(values.map(one => one[measure]))
    }
    all.push({
      question: `4 KiB reads, promises, user-blocking, ${depth} at once, ${setting}`,
      columns,
      medians: Object.fromEntries(
        rivals.map(({ name }) => [name, [of(name, 'perSecond') / 1000, of(name, 'cpuMicroseconds')]]),
      ),
      targets: targets(depth, cache, of),
    })
  }
  return all
}

function targets(
  depth: number,
  cache: Cache,
  of: (name: string, measure: keyof Measures) => number,
): Target[] {
  const rate = (rival: string) => of('kiruna', 'perSecond') / of(rival, 'perSecond')
  if (depth === 1) return [{ what: 'of C', is: rate(c), bound: { atLeast: 0.6 } }]
  if (depth !== 32) return []
  if (cache === 'direct') return [{ what: 'of C', is: rate(c), bound: { atLeast: 0.84 } }]
  const cpu = of('kiruna', 'cpuMicroseconds') / of(c, 'cpuMicroseconds')
  return [
    { what: 'of C', is: rate(c), bound: { atLeast: 0.7 } },
    { what: 'times fs.read', is: rate('fs.read with a callback'), bound: { atLeast: 3.5 } },
    { what: 'CPU, against C,', is: cpu, bound: { atMost: 1.6 } },
  ]
}

function node(name: string, rival: string, env: Record<string, string> = {}): Rival {
  return {
    name,
    run: (path, depth, cache) =>
      measuredBy(process.execPath, [here('round.ts'), rival, path, `${depth}`, '1', cache], env),
  }
}

const c = 'C on a raw ring, the limit'

/** Built here, where there is a compiler and io_uring. */
function limit(): Rival[] {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-limit-'))
  const program = join(folder, 'limit')
  try {
    execFileSync('cc', ['-O2', '-o', program, here('limit.c')], { stdio: 'ignore' })
    execFileSync(program, [here('limit.c'), '1', '0', '0'], { stdio: 'ignore' })
  } catch {
    rmSync(folder, { recursive: true })
    return []
  }
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return [
    {
      name: c,
      run: (path, depth, cache) =>
        measuredBy(program, [path, `${depth}`, '1', cache === 'direct' ? '1' : '0']),
    },
  ]
}

async function withFile<T>(mebibytes: number, run: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-bench-'))
  const path = join(folder, 'file')
  try {
    const block = Buffer.alloc(1024 * 1024, 'kiruna ')
    for (let written = 0; written < mebibytes; written++) writeFileSync(path, block, { flag: 'a' })
    return await run(path)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
