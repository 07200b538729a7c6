import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as stream from '../src/stream.ts'

let folder = ''
let path = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-dispatch-'))
  path = join(folder, 'file')
  fs.writeFileSync(path, 'another file')
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

const count = () => fs.readdirSync('/dev/fd').length

/** Until GCD has let go of them. */
async function closed(before: number): Promise<number> {
  for (let waits = 0; waits < 200 && count() > before; waits++) await sleep(10)
  return count()
}

describe('a borrowed fd', () => {
  test('that is two of one open file, read and written at once, is blocking again afterwards', () => {
    const fifo = join(folder, 'both')
    spawnSync('mkfifo', [fifo])
    const program = `
      import * as fs from 'node:fs'
      import { setTimeout as sleep } from 'node:timers/promises'
      const stream = await import(${JSON.stringify(new URL('../dist/stream.js', import.meta.url).href)})
      const out = stream.write(1, 'background')
      const wrote = out.write(Buffer.alloc(1e6, 'x'))
      let bytes = 0
      for await (const piece of stream.read(0, 'user-blocking')) if ((bytes += piece.length) === 1e6) break
      await wrote
      await out.end()
      await sleep(50)
      // A read that waits, where it is blocking, and EAGAIN where it is not.
      setTimeout(() => stream.write(1, 'background').write('late'), 100)
      fs.read(0, Buffer.alloc(4), 0, 4, null, (error, count) => process.stderr.write(String(error?.code ?? count)))`
    const script = 'exec "$0" --input-type=module --eval "$1" <> "$2" >&0'
    const { stderr } = spawnSync('sh', ['-c', script, process.execPath, program, fifo], {
      encoding: 'utf8',
      timeout: 10_000,
    })
    expect(stderr).toBe('4')
  })

  test('may be closed under a pending read, which goes on with the same file', async () => {
    const fifo = join(folder, 'closed')
    spawnSync('mkfifo', [fifo])
    const writer = fs.openSync(fifo, 'r+')
    let before = 0
    for (let round = 0; round < 10; round++) {
      const fd = fs.openSync(fifo, 'r')
      const next = stream.read(fd, 'background').next()
      await sleep(round)
      fs.closeSync(fd)
      const other = fs.openSync(path, 'r') // the same number, perhaps
      fs.writeSync(writer, `bytes ${round}`)
      expect(String((await next).value)).toBe(`bytes ${round}`)
      fs.closeSync(other)
      if (round === 0) before = count() // what GCD keeps for itself is open
    }
    expect(await closed(before)).toBeLessThanOrEqual(before)
    fs.closeSync(writer)
  })
})

test('a FIFO that is opened before its writer, by its path, waits for it', async () => {
  const fifo = join(folder, 'before')
  spawnSync('mkfifo', [fifo])
  const all = stream.all(fifo, 'background')
  await sleep(50)
  const writer = fs.openSync(fifo, 'w')
  await sleep(50)
  fs.writeSync(writer, 'at last')
  fs.closeSync(writer)
  expect(String(await all)).toBe('at last')
})
