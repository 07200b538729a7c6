import { once } from 'node:events'
import { PerformanceObserver } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Rival } from '../peers/rival.ts'
import { measuredMs, Samples, warmUpMs } from './samples.ts'

const periodMs = 8

/** What one round of one rival has shown. */
export interface Measured {
  /** How late the realtime timer and the message from another thread were. */
  timerP50Ms: number
  timerP99Ms: number
  messageP50Ms: number
  messageP99Ms: number
  /** Samples of the two that do not count, in per cent: see Samples. */
  leftOut: number
  /** What was done meanwhile, each second. */
  work: number
  /** Of the time, in per cent. */
  gcShare: number
  gcLongestMs: number
  /** How long somebody waited for a read; NaN where nobody did. */
  readP50Ms: number
  readP99Ms: number
}

/** The round under way, as the background work sees it. */
export interface Background {
  isOver(): boolean
  /** So much has been done. */
  count(work?: number): void
}

/**
 * A realtime timer and a realtime message every 8 ms, while the rival does the background work.
 * @param alone see Samples
 */
export async function measure(
  rival: Rival,
  work: (background: Background, startMs: number) => Promise<unknown>,
  alone = true,
): Promise<Measured> {
  const sender = new Worker(new URL('./sender.ts', import.meta.url), {
    workerData: { periodMs, doorbell: rival.doorbell },
  })
  await once(sender, 'message')

  const collections: { startTime: number; duration: number }[] = []
  const observer = new PerformanceObserver(list => collections.push(...list.getEntries()))
  observer.observe({ entryTypes: ['gc'] })

  const startMs = performance.now()
  const fromMs = startMs + warmUpMs
  const toMs = fromMs + measuredMs
  const timer = new Samples(startMs, alone)
  const message = new Samples(startMs, alone)
  rival.every(periodMs, lateMs => timer.add(lateMs))
  sender.on('message', (sent: bigint) => message.add(Number(process.hrtime.bigint() - sent) / 1e6))

  let done = 0
  await work(
    {
      isOver: () => performance.now() >= toMs,
      count(work = 1) {
        if (performance.now() >= fromMs) done += work
      },
    },
    startMs,
  )
  const tookMs = performance.now() - fromMs
  await sleep(3 * periodMs) // what was due in time and has had no turn yet is the latest of all

  const counted = collections.filter(({ startTime }) => startTime >= fromMs && startTime < toMs)
  return {
    timerP50Ms: timer.percentile(50),
    timerP99Ms: timer.percentile(99),
    messageP50Ms: message.percentile(50),
    messageP99Ms: message.percentile(99),
    leftOut: (timer.leftOut + message.leftOut) / 2,
    work: done / (tookMs / 1000),
    gcShare: (counted.reduce((sum, { duration }) => sum + duration, 0) / measuredMs) * 100,
    gcLongestMs: Math.max(0, ...counted.map(({ duration }) => duration)),
    readP50Ms: Number.NaN,
    readP99Ms: Number.NaN,
  }
}

let random = 1

/** Computes for so long. The clock is not asked all the time: it makes garbage. */
export function compute(ms: number): void {
  for (const endMs = performance.now() + ms; performance.now() < endMs; ) {
    for (let i = 0; i < 300; i++) random = (Math.imul(random, 1664525) + 1013904223) | 0
  }
}
