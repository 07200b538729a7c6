// One round of one rival, in a process of its own: round.ts <rival> <file> <depth> <seconds> <cached | direct>
// Prints what it has measured as JSON.
import { constants, openSync, read, readSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { seek } from '@kiruna/core/io'
import { aligned } from '../aligned.ts'

const readBytes = 4096
const warmUpMs = 300

const [rival, path, depth, seconds, cache] = process.argv.slice(2) as [string, ...string[]]
const flags = constants.O_RDONLY | (cache === 'direct' ? constants.O_DIRECT : 0)
const fd = openSync(path!, flags)
const blocks = Math.floor(statSync(path!).size / readBytes)
const buffers = Array.from({ length: Number(depth) }, () => aligned(readBytes, fd))

let random = 1
let reads = 0
/** What is counted begins after the warm-up. */
let startMs = performance.now() + warmUpMs
let startCpu: NodeJS.CpuUsage | undefined
const endMs = startMs + Number(seconds) * 1000

/** The next position; −1 at the end. The clock is looked at every 64 reads. */
function next(): number {
  if ((++reads & 63) === 0) {
    const nowMs = performance.now()
    if (nowMs >= endMs) return -1
    if (startCpu === undefined && nowMs >= startMs) {
      startCpu = process.cpuUsage()
      startMs = nowMs
      reads = 0
    }
  }
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0
  return (random % blocks) * readBytes
}

const rivals: Record<string, () => Promise<unknown>> = {
  callback: () =>
    Promise.all(
      buffers.map(
        buffer =>
          new Promise<void>((resolve, reject) => {
            const again = (error: Error | null) => {
              if (error) return reject(error)
              const position = next()
              if (position < 0) return resolve()
              read(fd, buffer, 0, readBytes, position, again)
            }
            again(null)
          }),
      ),
    ),
  async handle() {
    const handle = await open(path!, flags)
    await each((buffer, position) => handle.read(buffer, 0, readBytes, position))
  },
  async sync() {
    for (let position = next(); position >= 0; position = next())
      readSync(fd, buffers[0]!, 0, readBytes, position)
  },
  async kiruna() {
    const file = await seek.open(path!, 'user-blocking', { flags })
    await each((buffer, position) => file.read(buffer, position, 'user-blocking'))
  },
}

async function each(readAt: (buffer: Uint8Array, position: number) => Promise<unknown>): Promise<void> {
  await Promise.all(
    buffers.map(async buffer => {
      for (let position = next(); position >= 0; position = next()) await readAt(buffer, position)
    }),
  )
}

await rivals[rival]!()
const { user, system } = process.cpuUsage(startCpu)
const elapsedSeconds = (performance.now() - startMs) / 1000
console.log(JSON.stringify({ perSecond: reads / elapsedSeconds, cpuMicroseconds: (user + system) / reads }))
process.exit()
