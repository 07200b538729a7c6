// One round of one rival, in a process of its own, in Node or in Bun: round.ts <rival> <folder> <files> <at once>
// Prints the files a second of its best time: the first ones are not compiled yet, and others have the processor too.
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

declare const Bun: { file(path: string): { bytes(): Promise<Uint8Array> } }

const [rival, folder, files, atOnce] = process.argv.slice(2) as [keyof typeof rivals, ...string[]]
const paths = Array.from({ length: Number(files) }, (_, i) => `${folder}/${i}.txt`)

const rivals = {
  readFile: () => several(readFile),
  bun: () => several(path => Bun.file(path).bytes()),
  async readFileSync() {
    return paths.reduce((sum, path) => sum + readFileSync(path).length, 0)
  },
  async kiruna() {
    const { seek } = await import('@kiruna/core/io')
    let bytes = 0
    for await (const result of seek.readMany(paths, 'user-visible')) {
      if (result.error !== undefined) throw result.error
      bytes += result.bytes.length
    }
    return bytes
  },
}

async function several(read: (path: string) => Promise<Uint8Array>): Promise<number> {
  let bytes = 0
  let next = 0
  const reader = async () => {
    while (next < paths.length) {
      const { length } = await read(paths[next++]!)
      bytes += length
    }
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, reader))
  return bytes
}

const rates: number[] = []
let bytes = 0
for (let time = 0; time < 8; time++) {
  const startMs = performance.now()
  bytes = await rivals[rival]()
  rates.push(paths.length / ((performance.now() - startMs) / 1000))
}
console.log(JSON.stringify({ bytes, rate: Math.max(...rates) }))
