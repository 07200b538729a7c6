import { spawn } from 'node:child_process'
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Bench } from '../main.ts'
import { measuredBy, median, percentile } from '../rivals.ts'
import type { Table } from '../table.ts'

const readers = 64
const fileBytes = 1024 ** 3
const rounds = 3
const round = fileURLToPath(new URL('./round.ts', import.meta.url))

interface Rival {
  rival: 'node' | 'unbounded' | 'kiruna'
  readers: number
  env?: Record<string, string>
}

const rivals: Record<string, Rival> = {
  'nothing but the foreground': { rival: 'kiruna', readers: 0 },
  'node:fs': { rival: 'node', readers },
  'node:fs, UV_USE_IO_URING=1': { rival: 'node', readers, env: { UV_USE_IO_URING: '1' } },
  'io_uring, unbounded': { rival: 'unbounded', readers },
  kiruna: { rival: 'kiruna', readers },
}
const idle = 'nothing but the foreground'

interface Foreground {
  name: string
  periodMs: number
  seconds: number
  rivals: string[]
}

/** How often somebody waits for 4 KiB while the scan runs. */
const foregrounds: Foreground[] = [
  { name: 'every 2 ms', periodMs: 2, seconds: 3, rivals: Object.keys(rivals) },
  { name: 'every 50 ms', periodMs: 50, seconds: 5, rivals: [idle, 'io_uring, unbounded', 'kiruna'] },
  { name: 'every 500 ms', periodMs: 500, seconds: 10, rivals: [idle, 'io_uring, unbounded', 'kiruna'] },
  {
    name: 'after 5 s of quiet',
    periodMs: 5000,
    seconds: 26,
    rivals: [idle, 'io_uring, unbounded', 'kiruna'],
  },
]

/** 4 KiB for the foreground beside a scan at full speed: 64 reads of 256 KiB in flight. The disk is first in, first out. */
export const foregroundUnderScan: Bench[] = foregrounds.map(foreground => ({
  name: `foreground-under-scan-${foreground.periodMs}ms`,
  async run() {
    const path = join(tmpdir(), `kiruna-bench-${process.pid}`)
    const queue = schedulerOf(path)
    const remove = () => rmSync(path, { force: true })
    process.on('exit', remove)
    const tables: Table[] = []
    try {
      write(path)
      for (const scheduler of queue?.switchable ?? ['as it is']) {
        queue?.use(scheduler)
        for (const cache of ['direct', 'cold'] as const) {
          if (cache === 'cold' && foreground.periodMs > 50) continue
          tables.push(await measure(path, scheduler, cache, foreground))
        }
      }
    } finally {
      queue?.restore()
      remove()
    }
    return tables
  },
}))

type Cache = 'direct' | 'cold'

async function measure(
  path: string,
  scheduler: string,
  cache: Cache,
  foreground: Foreground,
): Promise<Table> {
  const measured = new Map<string, { latencies: number[][]; megabytes: number[] }>()
  for (let i = 0; i < rounds; i++) {
    for (const name of foreground.rivals) {
      const { latencies, bytesPerSecond } = await runRound(path, rivals[name]!, cache, foreground)
      const all = measured.get(name) ?? { latencies: [], megabytes: [] }
      all.latencies.push(latencies)
      all.megabytes.push(bytesPerSecond / 1e6)
      measured.set(name, all)
    }
  }
  const p = (percent: number, name: string) =>
    median(measured.get(name)!.latencies.map(latencies => percentile(latencies, percent)))
  const megabytes = (name: string) => median(measured.get(name)!.megabytes)
  const medians = Object.fromEntries(
    foreground.rivals.map(name => [name, [p(50, name), p(99, name), megabytes(name) || Number.NaN]]),
  )
  const [idleP50, idleP99] = [p(50, idle), p(99, idle)]
  const targets: Table['targets'] = [
    { what: 'p50, against idle,', is: p(50, 'kiruna') / idleP50, bound: { atMost: 1.5 } },
    { what: 'p99, against idle,', is: p(99, 'kiruna') / idleP99, bound: { atMost: 2 } },
    { what: 'p99 in ms', is: p(99, 'kiruna'), bound: { atMost: 3 } },
    {
      what: 'the scan, against the unbounded ring,',
      is: megabytes('kiruna') / megabytes('io_uring, unbounded'),
      bound: { atLeast: 0.95 },
    },
  ]
  if (scheduler === 'mq-deadline' && foreground.rivals.includes('node:fs'))
    targets.push({
      what: 'p50, times node:fs,',
      is: p(50, 'node:fs') / p(50, 'kiruna'),
      bound: { atLeast: 50 },
    })
  return {
    question: `4 KiB ${foreground.name}, ${cache === 'direct' ? 'O_DIRECT' : 'not in the page cache'}, disk scheduler ${scheduler}`,
    columns: [
      { title: 'p50 ms', better: 'less' },
      { title: 'p99 ms', better: 'less' },
      { title: 'scan MB/s', better: 'more' },
    ],
    medians,
    targets,
  }
}

async function runRound(path: string, { rival, readers, env }: Rival, cache: Cache, foreground: Foreground) {
  const dropper = cache === 'cold' ? dropFromCache(path) : undefined
  try {
    const { periodMs, seconds } = foreground
    const given = [round, rival, path, String(readers), String(periodMs), String(seconds), cache]
    return await measuredBy<{ latencies: number[]; bytesPerSecond: number }>(process.execPath, given, env)
  } finally {
    dropper?.kill()
  }
}

/** Node cannot ask the kernel for it: posix_fadvise(2), twenty times a second. */
function dropFromCache(path: string) {
  const source = `
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
while os.getppid() == int(sys.argv[2]):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    time.sleep(0.05)`
  return spawn('python3', ['-c', source, path, String(process.pid)], { stdio: 'inherit' })
}

function write(path: string): void {
  const block = Buffer.alloc(1024 * 1024)
  const fd = openSync(path, 'w')
  for (let written = 0; written < fileBytes; written += block.length) {
    block.fill(`${written} `)
    writeSync(fd, block)
  }
  fsyncSync(fd)
  closeSync(fd)
}

/** The scheduler of the disk that a file is on, where it may be switched: root on Linux. */
function schedulerOf(path: string) {
  try {
    const { dev } = statSync(dirname(path))
    const [major, minor] = [(dev >> 8) & 0xfff, (dev & 0xff) | ((dev >> 12) & 0xfff00)]
    const device = realpathSync(`/sys/dev/block/${major}:${minor}`)
    const disk = basename(dirname(device)) === 'block' ? device : dirname(device) // of a partition
    const file = join(disk, 'queue/scheduler')
    const before = /\[(.+)\]/.exec(readFileSync(file, 'utf8'))![1]!
    const offered = readFileSync(file, 'utf8').replace(/[[\]]/g, '').trim().split(/\s+/)
    const use = (scheduler: string) => writeFileSync(file, scheduler)
    use(before)
    const restore = () => use(before)
    const ended = () => process.exit(130)
    process.on('exit', restore)
    process.on('SIGINT', ended).on('SIGTERM', ended)
    return { use, restore, switchable: ['mq-deadline', 'none'].filter(name => offered.includes(name)) }
  } catch {
    return undefined
  }
}
