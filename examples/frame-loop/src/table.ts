import { count, megabytes, ms, times } from './format.ts'
import type { HalfReport, Report } from './report.ts'

interface Row {
  label: string
  naive: string
  kiruna: string
  /** How many times better Kiruna is; below 1 it is worse. Undefined where there is nothing to divide. */
  ratio?: number | undefined
}

const widths = { label: 37, value: 14, verdict: 14 }

/** The two halves side by side, in 80 columns. */
export function table({ naive, kiruna, ratios }: Report): string {
  const rows: Row[] = [
    row('Frame lateness (60 Hz)       p50', half => ms(half.frames.latenessMs.p50), ratios.frameLatenessP50),
    row('                             p99', half => ms(half.frames.latenessMs.p99), ratios.frameLatenessP99),
    row(
      '                             worst',
      half => ms(half.frames.latenessMs.max),
      ratios.frameLatenessMax,
    ),
    row(
      'Frames missed',
      half => `${count(half.frames.missed)} of ${count(half.frames.due)}`,
      ratios.framesMissed,
    ),
    row('File opened by the user      p50', half => ms(half.opens.latencyMs.p50), ratios.openLatencyP50),
    row('                             p99', half => ms(half.opens.latencyMs.p99), ratios.openLatencyP99),
    row('Files indexed per second', half => count(half.files.perSecond), ratios.filesPerSecond),
    row('MB read per second', half => megabytes(half.bytesPerSecond), ratios.bytesPerSecond),
    row('Garbage collection           pauses', half => count(half.gc.pauses)),
    row('                             longest', half => ms(half.gc.longestMs)),
    row('                             in all', half => ms(half.gc.totalMs)),
  ]
  function row(label: string, show: (half: HalfReport) => string, ratio?: number): Row {
    return { label, naive: show(naive), kiruna: show(kiruna), ratio }
  }
  const heading = line('', 'naive', 'Kiruna', 'Kiruna is')
  return [
    heading,
    '─'.repeat(79),
    ...rows.map(one => line(one.label, one.naive, one.kiruna, verdict(one.ratio))),
  ].join('\n')
}

function line(label: string, naive: string, kiruna: string, verdict: string): string {
  const columns = [
    label.padEnd(widths.label),
    naive.padStart(widths.value),
    kiruna.padStart(widths.value),
    verdict.padStart(widths.verdict),
  ]
  return columns.join('').trimEnd()
}

function verdict(ratio: number | undefined): string {
  if (ratio === undefined || Number.isNaN(ratio)) return ''
  if (ratio === Number.POSITIVE_INFINITY) return 'better'
  if (ratio === 0) return 'worse'
  if (ratio >= 1.05) return `${times(ratio)}x better`
  if (ratio <= 0.95) return `${times(1 / ratio)}x worse`
  return 'the same'
}
