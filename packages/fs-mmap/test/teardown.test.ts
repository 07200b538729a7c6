import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { stuckDisk } from '../../linux-seek/test/stuck-disk.test-support.ts'

const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)

test.runIf(process.platform === 'linux').each([
  ['the ring first', 'await openStuck(); await mapFile()'],
  ['the mapping first', 'await mapFile(); await openStuck()'],
])(
  'a worker that is terminated while a ring reads into a view unmaps it when that is over: %s',
  (_, order) => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-teardown-'))
    const stuck = join(folder, 'stuck')
    fs.mkdirSync(stuck)
    fs.writeFileSync(join(folder, 'mapped-file'), Buffer.alloc(1024 * 1024))
    const { wrapper, unavailable } = stuckDisk(stuck, 1.5)
    if (unavailable !== undefined) {
      fs.rmSync(folder, { recursive: true })
      return
    }
    const worker = `
    import { parentPort } from 'node:worker_threads'
    import * as seek from ${url('../../linux-seek/dist/seek.js')}
    import { map } from ${url('../dist/mmap.js')}
    let file, mapping
    const openStuck = async () => { file = await seek.open(${JSON.stringify(join(stuck, 'file'))}, 'background') }
    const mapFile = async () => { mapping = await map(${JSON.stringify(join(folder, 'mapped-file'))}, 'background') }
    ${order}
    const pin = mapping.pin()
    file.read(mapping.view(), 0, 'background').catch(() => {})
    setTimeout(() => parentPort.postMessage('reading'), 100)`
    const program = `
    import { readFileSync } from 'node:fs'
    import { once } from 'node:events'
    import { setTimeout as sleep } from 'node:timers/promises'
    import { Worker } from 'node:worker_threads'
    const isMapped = () => readFileSync('/proc/self/maps', 'latin1').includes('mapped-file')
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(worker)})))
    await once(worker, 'message')
    let hasEnded = false
    const ended = worker.terminate().then(() => { hasEnded = true })
    await sleep(300)
    console.log(hasEnded, isMapped())
    await ended
    console.log(isMapped())`
    const { stdout, stderr } = spawnSync(
      wrapper[0],
      [...wrapper.slice(1), process.execPath, '--input-type=module', '-e', program],
      { encoding: 'utf8', timeout: 15_000 },
    )
    fs.rmSync(folder, { recursive: true })
    expect(stderr).toBe('')
    expect(stdout).toBe('false true\nfalse\n')
  },
)

test.runIf(process.platform === 'linux')(
  'a handler of SIGBUS that comes after the view does not make its reads fault for ever',
  () => {
    const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-sigbus-'))
    const program = `
    import * as fs from 'node:fs'
    import { map } from ${url('../dist/mmap.js')}
    fs.writeFileSync('file', Buffer.alloc(100_000, 1))
    const mapping = await map('file', 'background')
    const view = mapping.view()
    process.on('SIGBUS', () => {})
    fs.truncateSync('file', 0)
    console.log(view[50_000], mapping.torn)
    await mapping.close()
    process.exit()`
    const { stdout, stderr, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 10_000,
    })
    fs.rmSync(folder, { recursive: true })
    expect({ stdout, stderr, signal }).toEqual({ stdout: '0 true\n', stderr: '', signal: null })
  },
)
