// Another thread that posts a message now and then: the time at which it did.
import { parentPort, workerData } from 'node:worker_threads'
import { ring } from '@kiruna/core/doorbell'

const { periodMs, doorbell } = workerData as { periodMs: number; doorbell?: SharedArrayBuffer }

setInterval(() => {
  parentPort!.postMessage(process.hrtime.bigint())
  if (doorbell !== undefined) ring(doorbell)
}, periodMs)
