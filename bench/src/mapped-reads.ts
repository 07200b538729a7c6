import { closeSync, openSync, readSync } from 'node:fs'
import { map } from '@kiruna/core/mmap'
import { makeFile } from './cold-file.ts'
import type { Bench, Row } from './main.ts'
import { alternate } from './rivals.ts'

const fileBytes = 256 * 1024 * 1024
const readBytes = 4096
const reads = 50_000

/** Random 4 KiB of a file in memory, each looked at: in place, and copied. */
export const mappedReads: Bench = {
  name: 'mapped-reads',
  async run() {
    using file = makeFile('mapped-reads', fileBytes)
    await using mapping = await map(file.path, 'user-blocking')
    await mapping.prefault(0, fileBytes, 'user-blocking')
    const fd = openSync(file.path, 'r')
    const buffer = Buffer.alloc(readBytes)
    const viaReadSync = (position: number) => {
      readSync(fd, buffer, 0, readBytes, position)
      return buffer
    }
    const row = (how: string, ratio: number, medians: Row['medians']): Row => ({
      question: `random 4 KiB of a file in memory, ${how}`,
      unit: 'thousands a second',
      better: 'more',
      medians,
      target: { rival: 'fs.readSync', ratio },
    })
    try {
      const view = mapping.view()
      const inPlace = await alternate(
        {
          'fs.readSync': () => rate(position => look(viaReadSync(position), 0)),
          'a view for each': () => rate(position => look(mapping.view(position, readBytes), 0)),
          kiruna: () => rate(position => look(view, position)),
        },
        9,
      )
      const copied = await alternate(
        {
          'fs.readSync': () => rate(position => viaReadSync(position)[0]!),
          kiruna: () => rate(position => mapping.readSync(position, readBytes, buffer)[0]!),
        },
        9,
      )
      return [row('looked at in place', 1.9, inPlace), row('copied into the same buffer', 1.8, copied)]
    } finally {
      closeSync(fd)
    }
  },
}

/** Something of each cache line: less would not need the bytes, more would be the program's own work. */
function look(bytes: Uint8Array, at: number): number {
  let sum = 0
  for (let i = at; i < at + readBytes; i += 64) sum += bytes[i]!
  return sum
}

async function rate(readAt: (position: number) => number): Promise<number> {
  let random = 1
  let sum = 0
  const startMs = performance.now()
  for (let i = 0; i < reads; i++) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0
    sum += readAt((random % (fileBytes / readBytes)) * readBytes)
  }
  if (sum === 0) throw new Error('nothing was read')
  return reads / (performance.now() - startMs)
}
