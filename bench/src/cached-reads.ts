import { closeSync, openSync, read, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seek } from '@kiruna/core/io'
import type { Bench, Row } from './main.ts'
import { alternate, onBusyMachine } from './rivals.ts'

const fileBytes = 64 * 1024 * 1024
const readBytes = 4096
const depth = 32
const reads = 100_000

/** Takes random positions until there are no more, then −1. */
type Next = () => number

/** Random reads of a file in the page cache: what is left is what the API costs. */
export const cachedReads: Bench = {
  name: 'cached-reads',
  async run() {
    const path = join(tmpdir(), `kiruna-bench-${process.pid}`)
    writeFileSync(path, Buffer.alloc(fileBytes, 'kiruna'))
    const fd = openSync(path, 'r')
    const file = await seek.open(path, 'user-blocking')

    const byCallback = (buffer: Buffer, next: Next) =>
      new Promise<void>(resolve => {
        const again = () => {
          const position = next()
          if (position >= 0) read(fd, buffer, 0, readBytes, position, again)
          else resolve()
        }
        again()
      })
    const synchronous = async (buffer: Buffer, next: Next) => {
      for (let position = next(); position >= 0; position = next())
        readSync(fd, buffer, 0, readBytes, position)
    }
    const kiruna = async (buffer: Buffer, next: Next) => {
      for (let position = next(); position >= 0; position = next())
        await file.read(buffer, position, 'user-blocking')
    }

    try {
      const measure = () =>
        alternate(
          {
            'fs.read with a callback': () => rate(byCallback),
            'fs.readSync, which blocks': () => rate(synchronous),
            kiruna: () => rate(kiruna),
          },
          9,
        )
      const row = (medians: Row['medians'], machine: string): Row => ({
        question: `cached 4 KiB reads, 32 at once, promises, user-blocking, ${machine}`,
        unit: 'thousands a second',
        better: 'more',
        medians,
        target: { rival: 'fs.read with a callback', ratio: 3 },
      })
      return [
        row(await measure(), 'the other cores idle'),
        row(await onBusyMachine(measure), 'the other cores busy'),
      ]
    } finally {
      closeSync(fd)
      await file.close()
      rmSync(path)
    }
  },
}

/** Thousands of reads a second by `depth` loops at once. */
async function rate(loop: (buffer: Buffer, next: Next) => Promise<void>): Promise<number> {
  let left = reads
  let random = 1
  const next = () => {
    if (left-- <= 0) return -1
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    return (random % (fileBytes / readBytes)) * readBytes
  }
  const buffers = Array.from({ length: depth }, () => Buffer.alloc(readBytes))
  const startMs = performance.now()
  await Promise.all(buffers.map(buffer => loop(buffer, next)))
  return reads / (performance.now() - startMs)
}
