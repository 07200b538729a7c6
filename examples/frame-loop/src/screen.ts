import { styleText } from 'node:util'
import { count, ms } from './format.ts'

export const hideCursor = '\x1b[?25l'
export const showCursor = '\x1b[?25h'
const eraseRestOfLine = '\x1b[K'
const eraseBelow = '\x1b[J'
const up = (lines: number) => `\x1b[${lines}A`

/** What the progress of a half is drawn from. */
export interface Progress {
  /** From 0 to 1. */
  share: number
  elapsedMs: number
  filesRead: number
  worstFrameMs: number
  lastOpenMs: number
}

export function progressLines(progress: Progress): string[] {
  const { share, elapsedMs, filesRead, worstFrameMs, lastOpenMs } = progress
  return [
    bar(share),
    `  ${count(filesRead / (elapsedMs / 1000))} files/s` +
      `   worst frame ${ms(worstFrameMs)} late   last file opened in ${ms(lastOpenMs)}`,
  ]
}

/** @param share from 0 to 1 */
export function bar(share: number): string {
  const cells = Math.max(0, Math.min(columns(), 80) - 12)
  const full = Math.floor(share * cells)
  const line = `  ${'█'.repeat(full)}${'░'.repeat(cells - full)}`
  return `${styleText('cyan', line, { stream: process.stderr })} ${count(Math.floor(share * 100)).padStart(3)} %`
}

/** Some lines at the bottom of a terminal, drawn over again. Where there is no terminal, nothing. */
export class Screen {
  readonly #live: boolean
  #lines = 0

  constructor(live: boolean) {
    this.#live = live
  }

  show(lines: string[]): void {
    if (!this.#live) return
    const drawn = lines.map(line => `${cut(line)}${eraseRestOfLine}\n`).join('')
    process.stderr.write((this.#lines === 0 ? '' : up(this.#lines)) + drawn)
    this.#lines = lines.length
  }

  clear(): void {
    if (this.#lines === 0) return
    process.stderr.write(up(this.#lines) + eraseBelow)
    this.#lines = 0
  }
}

/** A line that wraps would be two: plain ones are cut, the bar fits anyway. */
function cut(line: string): string {
  return line.includes('\x1b') ? line : line.slice(0, columns() - 1)
}

function columns(): number {
  return process.stderr.columns || 80
}
