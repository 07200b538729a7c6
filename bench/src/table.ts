/** Several measures of the same runs, side by side. */
export interface Table {
  question: string
  columns: Column[]
  /** The medians of each rival, one for each column; Kiruna's is named kiruna. */
  medians: Record<string, number[]>
  targets: Target[]
  /** What one has to know to read it. */
  notes?: string[]
}

export interface Column {
  title: string
  better: 'more' | 'less'
}

/** What has to be reached: `is` has been measured. */
export interface Target {
  what: string
  is: number
  bound: { atLeast: number } | { atMost: number }
}

export function printTable(bench: string, { question, columns, medians, targets, notes = [] }: Table): void {
  console.log(`${bench}: ${question}`)
  const own = medians.kiruna!
  const lines = [['', ...columns.map(({ title }) => title)]]
  const losses = columns.map((): string[] => [])
  for (const [rival, values] of Object.entries(medians)) {
    const cells = values.map((value, i) => {
      const times = columns[i]!.better === 'more' ? own[i]! / value : value / own[i]!
      if (times < 1) losses[i]!.push(`${rival} ${shown(value)}`)
      return rival === 'kiruna' || !Number.isFinite(times)
        ? shown(value)
        : `${shown(value)} (${shown(times)}x)`
    })
    lines.push([rival, ...cells])
  }
  for (const line of padded(lines)) console.log(line)
  console.log('  In brackets: how many times better kiruna is.')
  for (const [i, rivals] of losses.entries()) {
    if (rivals.length === 0) continue
    console.log(`  BETTER than kiruna (${shown(own[i]!)}), ${columns[i]!.title}: ${rivals.join(', ')}`)
  }
  for (const target of targets) console.log(`  target: ${verdict(target)}`)
  for (const note of notes) console.log(`  ${note}`)
  console.log()
}

function verdict({ what, is, bound }: Target): string {
  const [words, limit, reached] =
    'atLeast' in bound
      ? ['at least', bound.atLeast, is >= bound.atLeast]
      : ['at most', bound.atMost, is <= bound.atMost]
  return `${what} ${words} ${Number(limit.toPrecision(3))}: ${reached ? 'reached' : 'MISSED'}, ${shown(is)}`
}

/** A line for each, its cells below one another. */
export function padded(lines: string[][]): string[] {
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map(cells => cells[i]!.length)))
  return lines.map(([name, ...cells]) => {
    const own = cells.map((cell, i) => cell.padStart(widths[i + 1]! + 2))
    return `  ${name!.padEnd(widths[0]!)}${own.join('')}`
  })
}

/** Three digits that count. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return '-'
  const digits = value === 0 ? 0 : Math.max(0, Math.min(3, 2 - Math.floor(Math.log10(value))))
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
