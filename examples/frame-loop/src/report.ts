import type { Comparison } from './compare.ts'
import type { WarmFolder } from './folder.ts'
import { count, ms, times } from './format.ts'
import { percentile } from './measure.ts'
import type { Result } from './run.ts'

/** What `--json` prints. A number that was not measured is null there. */
export interface Report {
  folder: { path: string; files: number; bytes: number; foldersFailed: number }
  seconds: number
  node: string
  implementation: { name: string; reason?: string }
  naive: HalfReport
  kiruna: HalfReport
  ratios: Ratios
  indexes: Comparison & { words: number }
}

export interface HalfReport {
  elapsedMs: number
  frames: { due: number; missed: number; latenessMs: Distribution }
  opens: { done: number; failed: number; latencyMs: Distribution }
  /** `passes`: how often the whole folder was indexed. */
  files: { read: number; failed: number; perSecond: number; passes: number }
  bytesPerSecond: number
  gc: { pauses: number; totalMs: number; longestMs: number }
}

export interface Distribution {
  p50: number
  p99: number
  max: number
}

/** How many times better Kiruna is than the naive half: below 1 it is worse. */
export interface Ratios {
  frameLatenessP50: number
  frameLatenessP99: number
  frameLatenessMax: number
  framesMissed: number
  openLatencyP50: number
  openLatencyP99: number
  filesPerSecond: number
  bytesPerSecond: number
}

export function reportOf(
  folder: WarmFolder,
  seconds: number,
  naiveResult: Result,
  kirunaResult: Result,
  comparison: Comparison,
): Report {
  const naive = halfReport(naiveResult)
  const kiruna = halfReport(kirunaResult)
  return {
    folder: {
      path: folder.path,
      files: folder.paths.length,
      bytes: folder.bytes,
      foldersFailed: folder.foldersFailed,
    },
    seconds,
    node: process.version,
    implementation: kirunaResult.implementation!,
    naive,
    kiruna,
    ratios: {
      frameLatenessP50: timesLess(naive.frames.latenessMs.p50, kiruna.frames.latenessMs.p50),
      frameLatenessP99: timesLess(naive.frames.latenessMs.p99, kiruna.frames.latenessMs.p99),
      frameLatenessMax: timesLess(naive.frames.latenessMs.max, kiruna.frames.latenessMs.max),
      framesMissed: timesLess(naive.frames.missed, kiruna.frames.missed),
      openLatencyP50: timesLess(naive.opens.latencyMs.p50, kiruna.opens.latencyMs.p50),
      openLatencyP99: timesLess(naive.opens.latencyMs.p99, kiruna.opens.latencyMs.p99),
      filesPerSecond: timesLess(kiruna.files.perSecond, naive.files.perSecond),
      bytesPerSecond: timesLess(kiruna.bytesPerSecond, naive.bytesPerSecond),
    },
    indexes: { ...comparison, words: kirunaResult.words },
  }
}

function halfReport(result: Result): HalfReport {
  const { elapsedMs, gcMs } = result
  return {
    elapsedMs,
    frames: {
      due: result.framesDue,
      missed: result.framesMissed,
      latenessMs: distribution(result.latenessMs),
    },
    opens: {
      done: result.openMs.length,
      failed: result.opensFailed,
      latencyMs: distribution(result.openMs),
    },
    files: {
      read: result.filesRead,
      failed: result.filesFailed,
      perSecond: result.filesRead / (elapsedMs / 1000),
      passes: result.passes,
    },
    bytesPerSecond: result.bytesRead / (elapsedMs / 1000),
    gc: {
      pauses: gcMs.length,
      totalMs: gcMs.reduce((sum, pauseMs) => sum + pauseMs, 0),
      longestMs: Math.max(0, ...gcMs),
    },
  }
}

function distribution(values: Float64Array): Distribution {
  return { p50: percentile(values, 0.5), p99: percentile(values, 0.99), max: percentile(values, 1) }
}

function timesLess(more: number, less: number): number {
  return more === less ? 1 : more / less
}

const rowNames: { [row in keyof Ratios]: string } = {
  frameLatenessP50: 'half of the frames',
  frameLatenessP99: 'late frames',
  frameLatenessMax: 'the worst frame',
  framesMissed: 'missed frames',
  openLatencyP50: 'half of the opened files',
  openLatencyP99: 'slow opened files',
  filesPerSecond: 'files per second',
  bytesPerSecond: 'MB per second',
}

/** What the numbers show, in one sentence, also where Kiruna loses. */
export function conclusion({ naive, kiruna, ratios }: Report): string {
  const worse = (Object.keys(rowNames) as (keyof Ratios)[]).filter(row => ratios[row] <= 0.95)
  return (
    `With Kiruna 99 of 100 frames were at most ${ms(kiruna.frames.latenessMs.p99)} late instead of ` +
    `${ms(naive.frames.latenessMs.p99)}, 99 of 100 opened files were there within ` +
    `${ms(kiruna.opens.latencyMs.p99)} instead of ${ms(naive.opens.latencyMs.p99)}, and the indexer read ` +
    `${count(kiruna.files.perSecond)} files a second instead of ${count(naive.files.perSecond)}` +
    (worse.length === 0 ? '.' : `; it is worse in ${worse.map(row => named(row, ratios[row])).join(', ')}.`)
  )
}

function named(row: keyof Ratios, ratio: number): string {
  return ratio > 0 ? `${rowNames[row]} (${times(1 / ratio)}x)` : rowNames[row]
}
