import { closeSync, openSync, read, readSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { seek } from '@kiruna/core/io'
import { median, percentile } from '../rivals.ts'
import type { Table } from '../table.ts'

const readBytes = 256 * 1024
const atOnce = 64
const roundMs = 1000
const rounds = 5
const periodMs = 5

/** Large reads of what is in the page cache are copies: whoever makes them on this thread holds up a timer. */
export async function largeReads(path: string, fileBytes: number): Promise<Table> {
  const fd = openSync(path, 'r')
  const file = await seek.open(path, 'user-visible')
  const rivals: Record<string, (buffer: Buffer, position: number) => Promise<unknown>> = {
    'fs.read with a callback': (buffer, position) =>
      new Promise((resolve, reject) =>
        read(fd, buffer, 0, readBytes, position, error => (error ? reject(error) : resolve(undefined))),
      ),
    'fs.readSync, a turn between': async (buffer, position) => {
      readSync(fd, buffer, 0, readBytes, position)
      await turn()
    },
    kiruna: (buffer, position) => file.read(buffer, position, 'user-visible'),
  }
  const measured: Record<string, { megabytes: number; lateMs: number }[]> = {}
  for (let round = 0; round <= rounds; round++) {
    for (const [name, readAt] of Object.entries(rivals)) {
      const result = await measure(readAt, fileBytes)
      if (round > 0) (measured[name] ??= []).push(result)
    }
  }
  closeSync(fd)
  await file.close()
  const of = (name: string) => [
    median(measured[name]!.map(one => one.megabytes)),
    median(measured[name]!.map(one => one.lateMs)),
  ]
  const medians = Object.fromEntries(Object.keys(rivals).map(name => [name, of(name)]))
  return {
    question: `reads of 256 KiB from the page cache, ${atOnce} at once, user-visible, and a timer every ${periodMs} ms`,
    columns: [
      { title: 'MB/s', better: 'more' },
      { title: 'timer late, p99 ms', better: 'less' },
    ],
    medians,
    targets: [{ what: 'timer late, p99 ms,', is: medians.kiruna![1]!, bound: { atMost: 3 } }],
  }
}

async function measure(
  readAt: (buffer: Buffer, position: number) => Promise<unknown>,
  fileBytes: number,
): Promise<{ megabytes: number; lateMs: number }> {
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
  return { megabytes: (reads * readBytes) / 1e6 / seconds, lateMs: percentile(late, 99) }
}
