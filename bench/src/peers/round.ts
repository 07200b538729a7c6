// One round of one rival, in a process of its own: round.ts chunks react. Prints what it has measured as JSON.
import { bulk } from '../bulk.ts'
import { chunks } from '../lateness/chunks.ts'
import { polling } from '../lateness/polling.ts'
import { reads } from '../lateness/reads.ts'
import { tinyJobs } from '../lateness/tiny-jobs.ts'
import { wakeUps } from '../lateness/wake-ups.ts'
import { kiruna, kirunaWithoutGuard } from './kiruna.ts'
import { fastqWithImmediates, naive, polyfill, pQueue, pQueueWithImmediates, react } from './peers.ts'

const scenarios = { chunks, tinyJobs, wakeUps, reads, polling, bulk }
const rivals = {
  naive,
  react,
  polyfill,
  pQueue,
  pQueueWithImmediates,
  fastqWithImmediates,
  kirunaWithoutGuard,
  kiruna,
}
export type ScenarioName = keyof typeof scenarios
export type RivalName = keyof typeof rivals

const [scenario, rival] = process.argv.slice(2) as [ScenarioName, RivalName]
console.log(JSON.stringify(await scenarios[scenario](await rivals[rival]())))
process.exit()
