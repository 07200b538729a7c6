const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const tenths = new Intl.NumberFormat('en-US', { minimumFractionDigits: 1, maximumFractionDigits: 1 })
const hundredths = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })

/** What stands for a number that was not measured. */
const none = '–'

/** 12,345 */
export function count(value: number): string {
  return Number.isFinite(value) ? whole.format(value) : none
}

/** 0.12 ms, 12.3 ms */
export function ms(value: number): string {
  if (!Number.isFinite(value)) return none
  return `${(value < 9.995 ? hundredths : tenths).format(value)} ms`
}

/** 12.3, of a million bytes */
export function megabytes(bytes: number): string {
  return Number.isFinite(bytes) ? tenths.format(bytes / 1e6) : none
}

/** 1.2, 12 */
export function times(ratio: number): string {
  return (ratio < 9.95 ? tenths : whole).format(ratio)
}

/** 1 file, 2 files */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}
