// One round of one rival, in a process of its own: round.ts <rival> <file> <background> <foreground ms> <seconds>
// Prints what it has measured as JSON.
import { close, constants, fstatSync, openSync, read } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Priority } from '@kiruna/core'
import { seek } from '@kiruna/core/io'
import { aligned } from '../aligned.ts'

const blockBytes = 256 * 1024
const pageBytes = 4096

/** Reads into the whole of `buffer` from `position` on. */
type Read = (buffer: Uint8Array, position: number) => Promise<unknown>

const [rival, path, readers, periodMs, seconds, direct] = process.argv.slice(2) as [string, ...string[]]
const flags = constants.O_RDONLY | (direct === 'direct' ? constants.O_DIRECT : 0)
const probe = openSync(path, flags)
const { scan, foreground, sizeBytes } = rival === 'node' ? byNode() : await byKiruna()
const page = aligned(pageBytes, probe)
const buffers = Array.from({ length: Number(readers) }, () => aligned(blockBytes, probe))

const blocks = Math.floor(sizeBytes / blockBytes)
const latencies: number[] = []
let scannedBytes = 0
const startMs = performance.now()
const endMs = startMs + Number(seconds) * 1000
const scanning = buffers.map(async (buffer, i) => {
  for (let block = i; performance.now() < endMs; block += buffers.length) {
    await scan(buffer, (block % blocks) * blockBytes)
    scannedBytes += blockBytes
  }
})
for (let point = startMs + 100; point < endMs; ) {
  await sleep(Math.max(0, point - performance.now()))
  const position = Math.floor(Math.random() * (sizeBytes / pageBytes)) * pageBytes
  const askedMs = performance.now()
  await foreground(page, position)
  latencies.push(performance.now() - askedMs)
  point = Math.max(point + Number(periodMs), performance.now())
}
await Promise.all(scanning)
console.log(JSON.stringify({ latencies, bytesPerSecond: scannedBytes / Number(seconds) }))
process.exit()

function byNode(): { scan: Read; foreground: Read; sizeBytes: number } {
  const fd = openSync(path, flags)
  process.on('exit', () => close(fd))
  const scan: Read = (buffer, position) =>
    new Promise((resolve, reject) =>
      read(fd, buffer, 0, buffer.length, position, (error, bytes) =>
        error ? reject(error) : resolve(bytes),
      ),
    )
  return { scan, foreground: scan, sizeBytes: fstatSync(fd).size }
}

/** `unbounded`: user-blocking operations are admitted at once, so that all 64 are in the ring. */
async function byKiruna(): Promise<{ scan: Read; foreground: Read; sizeBytes: number }> {
  const file = await seek.open(path, 'user-blocking', { flags })
  const at =
    (priority: Priority): Read =>
    (buffer, position) =>
      file.read(buffer, position, priority)
  const { size: sizeBytes } = await file.stat('user-blocking')
  if (rival === 'unbounded') return { scan: at('user-blocking'), foreground: at('user-blocking'), sizeBytes }
  return { scan: at('background'), foreground: at('realtime'), sizeBytes }
}
