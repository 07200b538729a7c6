import { closeSync, openSync, read, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setImmediate as turn } from 'node:timers/promises'
import type { Priority } from '@kiruna/core'
import { seek } from '@kiruna/core/io'
import { median, percentile } from '../rivals.ts'
import type { Table } from '../table.ts'

const KiB = 1024
const atOnce = 64
const roundMs = 1000
const rounds = 5
const periodMs = 5

/** Large reads of what is in the page cache are copies: whoever makes them on this thread holds up a timer. */
export async function largeReads(path: string, fileBytes: number): Promise<Table[]> {
  return [
    await measure(path, fileBytes, 256 * KiB, 'user-visible'),
    await measure(path, fileBytes, 48 * KiB, 'user-blocking'), // the kernel's threads are not asked for these
  ]
}

async function measure(
  path: string,
  fileBytes: number,
  readBytes: number,
  priority: Priority,
): Promise<Table> {
  const fd = openSync(path, 'r')
  const file = await seek.open(path, priority)
  const rivals: Record<string, (buffer: Buffer, position: number) => Promise<unknown>> = {
    'fs.read with a callback': (buffer, position) =>
      new Promise((resolve, reject) =>
        read(fd, buffer, 0, readBytes, position, error => (error ? reject(error) : resolve(undefined))),
      ),
    'fs.readSync, a turn between': async (buffer, position) => {
      readSync(fd, buffer, 0, readBytes, position)
      await turn()
    },
    kiruna: (buffer, position) => file.read(buffer, position, priority),
  }
  const measured: Record<string, Measured[]> = {}
  const enters = timeEnters()
  for (let round = 0; round <= rounds; round++) {
    for (const [name, readAt] of Object.entries(rivals)) {
      enters.durations.length = 0
      const result = await runRound(readAt, fileBytes, readBytes)
      if (name === 'kiruna') result.enterMs = percentile(enters.durations, 99)
      if (round > 0) (measured[name] ??= []).push(result)
    }
  }
  enters.stop()
  closeSync(fd)
  await file.close()
  const of = (name: string) => [
    median(measured[name]!.map(one => one.megabytes)),
    median(measured[name]!.map(one => one.lateMs)),
    median(measured[name]!.map(one => one.enterMs)),
  ]
  const medians = Object.fromEntries(Object.keys(rivals).map(name => [name, of(name)]))
  return {
    question: `reads of ${readBytes / KiB} KiB from the page cache, ${atOnce} at once, ${priority}, and a timer every ${periodMs} ms`,
    columns: [
      { title: 'MB/s', better: 'more' },
      { title: 'timer late, p99 ms', better: 'less' },
      { title: 'one enter, p99 ms', better: 'less' },
    ],
    medians,
    targets: [
      { what: 'timer late, p99 ms,', is: medians.kiruna![1]!, bound: { atMost: 3 } },
      { what: 'one enter, p99 ms,', is: medians.kiruna![2]!, bound: { atMost: 1 } },
    ],
  }
}

interface Measured {
  megabytes: number
  lateMs: number
  enterMs: number
}

/** How long the calls of io_uring_enter(2) that hand something over hold this thread. */
function timeEnters() {
  const durations: number[] = []
  const seek = createRequire(import.meta.resolve('@kiruna/core/io')).resolve('@kiruna/linux-seek')
  const ring = createRequire(seek).resolve('@kiruna/linux-uring/ring')
  const native = createRequire(ring)('../build/Release/uring.node')
  const { enter } = native
  native.enter = (count: number) => {
    const startMs = performance.now()
    const result = enter(count)
    if (count > 0) durations.push(performance.now() - startMs)
    return result
  }
  return { durations, stop: () => (native.enter = enter) }
}

async function runRound(
  readAt: (buffer: Buffer, position: number) => Promise<unknown>,
  fileBytes: number,
  readBytes: number,
): Promise<Measured> {
  const late: number[] = []
  const startMs = performance.now()
  let dueMs = startMs + periodMs
  const tick = () => {
    const nowMs = performance.now()
    late.push(nowMs - dueMs)
    dueMs = nowMs + periodMs
    timer = setTimeout(tick, periodMs)
  }
  let timer = setTimeout(tick, periodMs)
  let reads = 0
  const reader = async () => {
    const buffer = Buffer.allocUnsafeSlow(readBytes)
    while (performance.now() < startMs + roundMs) await readAt(buffer, (reads++ * readBytes) % fileBytes)
  }
  await Promise.all(Array.from({ length: atOnce }, reader))
  clearTimeout(timer)
  const seconds = (performance.now() - startMs) / 1000
  return { megabytes: (reads * readBytes) / 1e6 / seconds, lateMs: percentile(late, 99), enterMs: Number.NaN }
}
