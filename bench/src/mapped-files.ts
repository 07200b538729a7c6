import { readFileSync } from 'node:fs'
import { seek } from '@kiruna/core/io'
import { map } from '@kiruna/core/mmap'
import { makeFile } from './cold-file.ts'
import type { Bench, Row } from './main.ts'
import { alternate } from './rivals.ts'

const KiB = 1024
const filesABatch = 16

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
          kiruna: () =>
            rate(async () => {
              const mapping = await map(file.path, 'user-blocking')
              await mapping.prefault(0, fileBytes, 'user-blocking')
              const sum = look(mapping.view())
              await mapping.close()
              return sum
            }),
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

async function rate(once: () => Promise<number>): Promise<number> {
  const startMs = performance.now()
  for (let i = 0; i < filesABatch; i++) if ((await once()) === 0) throw new Error('nothing was read')
  return (filesABatch * 1000) / (performance.now() - startMs)
}
