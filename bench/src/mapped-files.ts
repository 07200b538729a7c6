import { readFileSync } from 'node:fs'
import { seek } from '@kiruna/core/io'
import { map } from '@kiruna/core/mmap'
import { makeFile } from './cold-file.ts'
import type { Bench, Row } from './main.ts'
import { alternate } from './rivals.ts'

const KiB = 1024
const filesABatch = 32

/** A whole file that is in memory, looked at once: from which size on is mapping it better than reading it? */
export const mappedFiles: Bench = {
  name: 'mapped-files',
  async run() {
    const rows: Row[] = []
    for (const fileBytes of [64 * KiB, 256 * KiB, 1024 * KiB, 16 * 1024 * KiB]) {
      using file = makeFile('mapped-files', fileBytes)
      const medians = await alternate(
        {
          'fs.readFileSync': () => rate(async () => look(readFileSync(file.path))),
          'seek.readAll': () => rate(async () => look(await seek.readAll(file.path, 'user-blocking'))),
          'kiruna, 16 at once': () => rate(() => mapped(file.path, fileBytes), 16),
          kiruna: () => rate(() => mapped(file.path, fileBytes)),
        },
        9,
      )
      rows.push({
        question: `a whole file of ${fileBytes / KiB} KiB in memory, looked at once`,
        unit: 'files a second',
        better: 'more',
        medians,
        target: { rival: 'fs.readFileSync', ratio: fileBytes >= 1024 * KiB ? 1.2 : 0 },
      })
    }
    return rows
  },
}

function look(bytes: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i += 64) sum += bytes[i]!
  return sum
}

async function mapped(path: string, lengthBytes: number): Promise<number> {
  const mapping = await map(path, 'user-blocking')
  await mapping.prefault(0, lengthBytes, 'user-blocking')
  const sum = look(mapping.view())
  await mapping.close()
  return sum
}

async function rate(once: () => Promise<number>, atOnce = 1): Promise<number> {
  const startMs = performance.now()
  for (let i = 0; i < filesABatch; i += atOnce) {
    const sums = await Promise.all(Array.from({ length: atOnce }, once))
    if (sums.includes(0)) throw new Error('nothing was read')
  }
  return (filesABatch * 1000) / (performance.now() - startMs)
}
