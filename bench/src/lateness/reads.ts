import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Rival } from '../peers/rival.ts'
import { compute, type Measured, measure } from './measure.ts'
import { Samples } from './samples.ts'

export const loops = 256
const fileBytes = 16 * 1024 * 1024
const readBytes = 16 * 1024
const urgentBytes = 4096
const workMs = 0.05
const pauseMs = 8

/** Loops that read a file in the page cache and compute a little; somebody waits for one more read now and then. */
export async function reads(rival: Rival): Promise<Measured> {
  const path = join(tmpdir(), `kiruna-bench-${process.pid}`)
  writeFileSync(path, Buffer.alloc(fileBytes, 'kiruna'))
  try {
    const file = await rival.open(path)
    let samples: Samples | undefined
    const measured = await measure(
      rival,
      async ({ isOver, count }, startMs) => {
        const read = (samples = new Samples(startMs, false))
        let random = 1
        const position = () => {
          random = (Math.imul(random, 1664525) + 1013904223) >>> 0
          return (random % (fileBytes / readBytes)) * readBytes
        }
        const next = () => (isOver() ? -1 : position())
        const work = () => {
          compute(workMs)
          count()
        }
        const urgent = async () => {
          const buffer = Buffer.alloc(urgentBytes)
          while (!isOver()) {
            const sentMs = performance.now()
            await file.urgent(buffer, position())
            read.add(performance.now() - sentMs)
            await sleep(pauseMs)
          }
        }
        const background = Array.from({ length: loops }, () => file.loop(Buffer.alloc(readBytes), next, work))
        await Promise.all([urgent(), ...background])
      },
      false,
    )
    return { ...measured, readP50Ms: samples!.percentile(50), readP99Ms: samples!.percentile(99) }
  } finally {
    rmSync(path)
  }
}
