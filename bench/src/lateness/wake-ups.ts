import type { Rival } from '../peers/rival.ts'
import { compute, type Measured, measure } from './measure.ts'

export const waiters = 50_000
const stepMs = 0.002

/** As many async functions wait for one event, which wakes each by a job of its own; when all have run, again. */
export function wakeUps(rival: Rival): Promise<Measured> {
  return measure(
    rival,
    ({ isOver, count }) =>
      new Promise<void>(resolve => {
        let waiting: (() => void)[] = []
        const event = () => {
          const woken = waiting
          waiting = []
          for (const wake of woken) rival.post(wake)
        }
        const waiter = async () => {
          while (!isOver()) {
            await new Promise<void>(wake => {
              waiting.push(wake)
              if (waiting.length === waiters) rival.post(event)
            })
            compute(stepMs)
            count()
          }
          resolve()
        }
        for (let i = 0; i < waiters; i++) waiter()
      }),
    false, // V8 collects garbage on several threads
  )
}
