import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seek } from '@kiruna/core/io'
import type { Bench, Row } from './main.ts'
import { alternate, onBusyMachine } from './rivals.ts'

const files = 10_000
const concurrency = 64

/** What an editor does with a project: every file, whole. */
export const smallFiles: Bench = {
  name: 'small-files',
  async run() {
    const folder = mkdtempSync(join(tmpdir(), 'kiruna-bench-'))
    const paths = Array.from({ length: files }, (_, i) => join(folder, `${i}.txt`))
    let expectedBytes = 0
    for (const [i, path] of paths.entries()) {
      const lengthBytes = 256 + ((i * 7919) % 7936) // 256 bytes to 8 KiB
      writeFileSync(path, Buffer.alloc(lengthBytes, 'kiruna '))
      expectedBytes += lengthBytes
    }
    const rate = async (work: () => Promise<number>) => {
      const startMs = performance.now()
      const bytes = await work()
      if (bytes !== expectedBytes) throw new Error(`${bytes} bytes were read of ${expectedBytes}`)
      return files / ((performance.now() - startMs) / 1000)
    }
    try {
      const readFiles = `fs.promises.readFile, ${concurrency} at once`
      const measure = () =>
        alternate(
          {
            [readFiles]: () => rate(() => byReadFile(paths)),
            'fs.readFileSync, which blocks': () =>
              rate(async () => paths.reduce((sum, path) => sum + readFileSync(path).length, 0)),
            kiruna: () => rate(() => byReadMany(paths)),
          },
          7,
        )
      const row = (medians: Row['medians'], machine: string): Row => ({
        question: `${files.toLocaleString('en')} small files, readMany, user-visible, ${machine}`,
        unit: 'files a second',
        better: 'more',
        medians,
        target: { rival: readFiles, ratio: 4 },
      })
      return [
        row(await measure(), 'the other cores idle'),
        row(await onBusyMachine(measure), 'the other cores busy'),
      ]
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
}

async function byReadFile(paths: string[]): Promise<number> {
  let bytes = 0
  let next = 0
  const reader = async () => {
    while (next < paths.length) {
      const { length } = await readFile(paths[next++]!)
      bytes += length
    }
  }
  await Promise.all(Array.from({ length: concurrency }, reader))
  return bytes
}

async function byReadMany(paths: string[]): Promise<number> {
  let bytes = 0
  for await (const result of seek.readMany(paths, 'user-visible')) {
    if (result.error !== undefined) throw result.error
    bytes += result.bytes.length
  }
  return bytes
}
