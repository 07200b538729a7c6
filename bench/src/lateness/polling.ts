import type { Rival } from '../peers/rival.ts'
import { compute, type Measured, measure } from './measure.ts'

export const computations = 15
const pollMs = 0.02

/** Computations that ask every 20 µs whether they should give way. */
export function polling(rival: Rival): Promise<Measured> {
  return measure(rival, ({ isOver, count }) => {
    const step = (shouldYield: () => boolean) => {
      let over: boolean
      do {
        compute(pollMs)
        count()
        over = isOver()
      } while (!over && !shouldYield())
      return !over
    }
    return Promise.all(Array.from({ length: computations }, () => rival.loop(step)))
  })
}
