import type { Rival } from '../peers/rival.ts'
import { compute, type Measured, measure } from './measure.ts'

export const tasks = 15
export const chunkMs = 1

/** Tasks that compute, a chunk at a time. */
export function chunks(rival: Rival): Promise<Measured> {
  return measure(rival, ({ isOver, count }) => {
    const chunk = () => {
      compute(chunkMs)
      count()
      return !isOver()
    }
    return Promise.all(Array.from({ length: tasks }, () => rival.loop(chunk)))
  })
}
