import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { seekUrl, withFolder } from './folder.test-support.ts'

const streamUrl = pathToFileURL(createRequire(import.meta.url).resolve('@kiruna/win-stream')).href

/** KIRUNA_RUNS: as often as one has the patience for. */
const runs = Number(process.env.KIRUNA_RUNS ?? 20)

/** Everything that can be in flight: files, pipes that say nothing and take nothing, a borrowed pipe, and all that follows. */
function busy(folder: string, pipe: string): string {
  const names = Array.from({ length: 8 }, (_, index) => join(folder, `${index}`))
  for (const name of names) writeFileSync(name, Buffer.alloc(300_000))
  return `
    Promise.all([import(${JSON.stringify(seekUrl)}), import(${JSON.stringify(streamUrl)})]).then(([seek, stream]) => {
      const names = ${JSON.stringify(names)}
      const ignored = () => {}
      const file = async name => {
        for (;;) {
          const file = await seek.open(name, 'background', { flags: 'r+' })
          await Promise.all([
            file.read(Buffer.alloc(300_000), 0, 'background'),
            file.read(Buffer.alloc(10), 0, 'realtime'),
            file.write(Buffer.alloc(100_000), 0, 'user-visible'),
            file.sync('background'),
            file.truncate(300_000, 'background'),
            seek.writeAll(name + ' whole', Buffer.alloc(100_000), 'background'),
            seek.readAll(name, 'user-blocking'),
          ])
          await file.close()
        }
      }
      for (const name of names) file(name).catch(ignored)
      for (let index = 0; index < 3; index++) {
        stream.all(${JSON.stringify(pipe)}, 'background').catch(ignored)
        stream.write(${JSON.stringify(pipe)}, 'background').write(Buffer.alloc(10_000_000)).catch(ignored)
      }
      stream.all(0, 'background').catch(ignored)
      begun()
    })`
}

async function withSilentPipe(run: (path: string) => Promise<void>): Promise<void> {
  const path = `\\\\.\\pipe\\kiruna-teardown-${process.pid}`
  const server = createServer(socket => socket.pause().on('error', () => {}))
  server.listen(path)
  await once(server, 'listening')
  try {
    await run(path)
  } finally {
    server.close()
  }
}

test(`with operations in flight, process.exit ends the process: ${runs} times`, () =>
  withFolder(folder =>
    withSilentPipe(async pipe => {
      for (let round = 0; round < runs; round++) {
        const begun = `globalThis.begun = () => setTimeout(() => process.exit(7), ${(round * 7) % 60})`
        const child = spawn(process.execPath, ['--eval', `${begun};${busy(folder, pipe)}`], {
          stdio: ['pipe', 'ignore', 'pipe'],
        })
        let stderr = ''
        child.stderr.setEncoding('utf8').on('data', data => (stderr += data))
        const late = globalThis.setTimeout(() => child.kill(), 10_000)
        const [code, signal] = await once(child, 'exit')
        clearTimeout(late)
        assert.deepEqual([code, signal, stderr], [7, null, ''], `round ${round}`)
      }
    }),
  ))

test(`with operations in flight, a worker is terminated: ${runs} times`, () =>
  withFolder(folder =>
    withSilentPipe(async pipe => {
      // A pipe is borrowed by the main thread's fd: nothing comes in it, and it is not the worker's to close.
      const text = busy(folder, pipe).replace("stream.all(0, 'background').catch(ignored)", '')
      for (let round = 0; round < runs; round++) {
        const begun = "globalThis.begun = () => require('node:worker_threads').parentPort.postMessage(0)"
        const worker = new Worker(`${begun};${text}`, { eval: true })
        await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
        await setTimeout((round * 7) % 60)
        const late = setTimeout(10_000, 'late', { ref: false })
        assert.notEqual(await Promise.race([worker.terminate(), late]), 'late', `round ${round}`)
      }
    }),
  ))
