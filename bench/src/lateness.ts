import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { createScheduler } from '@kiruna/core'
import type { Bench, Row } from './main.ts'
import { median } from './rivals.ts'

const tasks = 15
const chunkMs = 1
const periodMs = 8
const roundMs = 3000
const rounds = 5

interface Round {
  /** Of the realtime timer, p99. */
  lateMs: number
  /** Chunks that were worked off in a second. */
  work: number
}

/** A realtime timer beside fifteen tasks that compute, a millisecond at a time. */
export const lateness: Bench = {
  name: 'lateness',
  async run() {
    const rivals: Record<string, () => Promise<Round>> = {
      'async/await and setImmediate': naive,
      'kiruna without the guard': () => kiruna(false),
      kiruna: () => kiruna(true),
    }
    const measured: Record<string, Round[]> = {}
    for (let round = 0; round <= rounds; round++) {
      for (const [name, rival] of Object.entries(rivals)) {
        const result = await rival()
        if (round > 0) (measured[name] ??= []).push(result)
      }
    }
    const medians = (measure: (round: Round) => number) =>
      Object.fromEntries(
        Object.entries(measured).map(([name, all]) => [name, median(all.map(measure))]),
      ) as Row['medians']
    const setting = `${tasks} tasks of ${chunkMs} ms chunks, a timer every ${periodMs} ms`
    return [
      {
        question: `${setting}: how late it is, p99`,
        unit: 'ms',
        better: 'less',
        medians: medians(({ lateMs }) => lateMs),
        target: { bound: 0.3 * chunkMs },
      },
      {
        question: `${setting}: the work done meanwhile`,
        unit: 'chunks a second',
        better: 'more',
        medians: medians(({ work }) => work),
        target: { rival: 'async/await and setImmediate', ratio: 0.88 },
      },
    ]
  },
}

/** A timer that is armed again for the next point of its grid. */
async function naive(): Promise<Round> {
  const startMs = performance.now()
  const late: number[] = []
  let point = 1
  const tick = () => {
    const lateMs = performance.now() - (startMs + point * periodMs)
    if (lateMs >= 0) {
      late.push(lateMs)
      point += 1 + Math.floor(lateMs / periodMs)
    }
    timer = setTimeout(tick, Math.max(0, startMs + point * periodMs - performance.now()))
  }
  let timer = setTimeout(tick, periodMs)
  let chunks = 0
  const task = async () => {
    while (performance.now() - startMs < roundMs) {
      compute()
      chunks++
      await turn()
    }
  }
  await Promise.all(Array.from({ length: tasks }, task))
  clearTimeout(timer)
  return roundOf(late, chunks)
}

async function kiruna(guard: boolean): Promise<Round> {
  await sleep(10)
  const scheduler = createScheduler({ guard })
  const startMs = performance.now()
  const late: number[] = []
  scheduler.every(periodMs, lateMs => void late.push(lateMs))
  let chunks = 0
  const running = Array.from({ length: tasks }, () =>
    scheduler.spawn(
      'background',
      async scope => {
        while (performance.now() - startMs < roundMs) {
          compute()
          chunks++
          await scope.yield()
        }
      },
      { name: 'compute' },
    ),
  )
  await Promise.all(running)
  scheduler.dispose()
  return roundOf(late, chunks)
}

function compute(): void {
  for (const endMs = performance.now() + chunkMs; performance.now() < endMs; );
}

function roundOf(late: number[], chunks: number): Round {
  late.sort((a, b) => a - b)
  return { lateMs: late[Math.ceil(late.length * 0.99) - 1]!, work: chunks / (roundMs / 1000) }
}
