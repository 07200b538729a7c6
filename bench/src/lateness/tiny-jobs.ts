import type { Rival } from '../peers/rival.ts'
import { compute, type Measured, measure } from './measure.ts'

export const jobs = 10_000
const jobMs = 0.01

/** Many small jobs queued at once, and again when the last of them has run. */
export function tinyJobs(rival: Rival): Promise<Measured> {
  return measure(
    rival,
    ({ isOver, count }) =>
      new Promise<void>(resolve => {
        let left = 0
        const job = () => {
          compute(jobMs)
          count()
          if (--left > 0) return
          if (isOver()) resolve()
          else fill()
        }
        const fill = () => {
          left = jobs
          for (let i = 0; i < jobs; i++) rival.post(job)
        }
        fill()
      }),
  )
}
