import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync, gzip } from 'node:zlib'
import { type Access, map } from '../src/mmap.ts'
import { truncate, whyNotTruncated } from './mapped-files.test-support.ts'
import { afterAll, beforeAll, expect, onUnix, skipIf } from './runner.test-support.ts'

const MiB = 1024 * 1024
/** How often the file is truncated while it is read: KIRUNA_RACES=10000 for all of it. */
const races = Number(process.env.KIRUNA_RACES ?? 2000)
const mmapUrl = new URL('../dist/mmap.js', import.meta.url).href
const supportUrl = new URL(`mapped-files.test-support${import.meta.url.slice(-3)}`, import.meta.url).href
/** A file that cannot be truncated cannot be torn. */
const { describe, test } = skipIf(whyNotTruncated !== undefined, whyNotTruncated!)
let folder = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-sigbus-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

function file(name: string, lengthBytes: number): string {
  fs.writeFileSync(join(folder, name), Buffer.alloc(lengthBytes, 1))
  return join(folder, name)
}

/** Runs a module in a Node of its own, with the built `map`, `fs` and `path` at hand. */
function node(code: string, path = file('of-a-process', MiB)) {
  const program = `
    import * as fs from 'node:fs'
    import { Worker } from 'node:worker_threads'
    import { spawn } from 'node:child_process'
    import { setTimeout as sleep } from 'node:timers/promises'
    import { map } from ${JSON.stringify(mmapUrl)}
    import { truncate } from ${JSON.stringify(supportUrl)}
    const [mmapUrl, path] = ${JSON.stringify([mmapUrl, path])}
    ${code}`
  return new Promise<{ code: number | null; signal: string | null; stdout: string; stderr: string }>(
    (resolve, reject) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const output = { stdout: '', stderr: '' }
      child.stdout.setEncoding('utf8').on('data', text => (output.stdout += text))
      child.stderr.setEncoding('utf8').on('data', text => (output.stderr += text))
      child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, ...output }))
    },
  )
}

describe.each<Access>(['read', 'copy-on-write', 'read-write'])('a file truncated under access %s', access => {
  test('reads as zeros through a view, and as an error otherwise', async () => {
    const name = file(`truncated-${access}`, MiB)
    await using mapping = await map(name, 'user-blocking', { access })
    const view = mapping.view()
    expect(mapping.torn).toBe(false)
    truncate(name, 100_000)
    expect(view[99_999]).toBe(1)
    expect(view[500_000]).toBe(0)
    expect(view[MiB - 1]).toBe(0)
    expect(mapping.torn).toBe(true)
    const torn = { code: 'ERR_KIRUNA_TORN', path: name }
    expect(() => mapping.readSync(0, 1)).toThrow(expect.objectContaining(torn))
    await expect(mapping.read(0, 1, 'background')).rejects.toMatchObject(torn)
    await expect(mapping.prefault(500_000, 1, 'background')).rejects.toMatchObject(torn)
    if (access === 'read-write') {
      expect(() => mapping.write(0, Buffer.from('x'))).toThrow(expect.objectContaining(torn))
      await expect(mapping.sync('background')).rejects.toMatchObject(torn)
    }
  })

  test('is an error of every read before any view has met it, and of a prefault', async () => {
    const name = file(`unmet-${access}`, MiB)
    await using mapping = await map(name, 'user-blocking', { access })
    truncate(name, 100_000)
    const torn = { code: 'ERR_KIRUNA_TORN', path: name }
    expect(() => mapping.readSync(200_000, 4096)).toThrow(expect.objectContaining(torn))
    await expect(mapping.read(99_000, 4096, 'user-blocking')).rejects.toMatchObject(torn)
    await expect(mapping.read(0, MiB, 'background')).rejects.toMatchObject(torn)
    await expect(mapping.prefault(0, MiB, 'background')).rejects.toMatchObject(torn)
    expect(mapping.torn).toBe(true)
  })

  test('within its last page: no fault, but torn all the same', async () => {
    const name = file(`tail-${access}`, 4096)
    await using mapping = await map(name, 'user-blocking', { access })
    const view = mapping.view()
    expect(view[4000]).toBe(1)
    truncate(name, 100)
    expect(view[99]).toBe(1)
    expect(view[100]).toBe(0)
    expect(mapping.torn).toBe(true)
    expect(() => mapping.readSync(50, 100)).toThrow(expect.objectContaining({ code: 'ERR_KIRUNA_TORN' }))
    await expect(mapping.read(50, 100, 'background')).rejects.toMatchObject({ code: 'ERR_KIRUNA_TORN' })
  })
})

test('a loop over chunks ends with an error', async () => {
  const name = file('chunks', 4 * MiB)
  await using mapping = await map(name, 'user-blocking')
  const lengths: number[] = []
  const loop = async () => {
    for await (const { bytes } of mapping.chunks('user-visible', { chunkBytes: 100_000 })) {
      lengths.push(bytes.length)
      if (lengths.length === 2) truncate(name, 0)
    }
  }
  await expect(loop()).rejects.toMatchObject({ code: 'ERR_KIRUNA_TORN' })
  expect(lengths).toEqual([100_000, 100_000])
})

/** Reads a file's mappings in every way until the race is over, and maps again whenever one is torn. */
const runner = `
  import { setImmediate as turn } from 'node:timers/promises'
  import { map } from ${JSON.stringify(mmapUrl)}
  export async function run(path, access, over) {
    let torn = 0
    for (let round = 0; Atomics.load(over, 0) === 0; round++) {
      const mapping = await map(path, 'user-blocking', { access })
      try {
        if (mapping.byteLength > 5000) {
          const view = mapping.view()
          for (let i = 0; i < view.length; i += 4096) if (view[i] > 1) throw new Error('neither zeros nor the file')
          if (access === 'read-write') view[round % view.length] = 1
          mapping.readSync(5000, view.length - 5000)
          await mapping.read(0, view.length, round % 2 ? 'realtime' : 'background')
          await mapping.prefault(0, view.length, 'user-blocking')
          if (access === 'read-write') mapping.write(100, Buffer.alloc(100))
        }
      } catch (error) {
        if (error.code !== 'ERR_KIRUNA_TORN') throw error
        torn++
      }
      await mapping.close()
      await turn()
    }
    return torn
  }`

/**
 * `race` starts another process that truncates the file and makes it long again, so many times, each after a moment of
 * its own; then it says so in `over`.
 */
const race = `
  const over = new Int32Array(new SharedArrayBuffer(4))
  const race = () => spawn(process.execPath, ['-e', \`
    const fs = require('node:fs')
    const fd = fs.openSync(\${JSON.stringify(path)}, 'r+')
    const pause = () => { for (const end = performance.now() + Math.random() * 0.2; performance.now() < end;); }
    for (let i = 0; i < ${races}; i++) {
      fs.ftruncateSync(fd, i % 3 * 1000)
      if (i % 2) pause()
      fs.ftruncateSync(fd, 1048576)
      pause()
    }\`], { stdio: 'inherit' }).on('exit', code => {
      if (code !== 0) process.exit(20)
      Atomics.store(over, 0, 1)
    })`

onUnix('no other process can do that at once').describe(
  `a file that another process truncates ${races} times`,
  { timeout: 300_000 },
  () => {
    let runnerFile = ''
    beforeAll(() => {
      runnerFile = join(folder, 'runner.mjs')
      fs.writeFileSync(runnerFile, runner)
    })

    test('is survived on the main thread', async () => {
      const ending = await node(`
      ${race}
      const { run } = await import(${JSON.stringify(runnerFile)})
      race()
      const torn = await Promise.all(['read', 'copy-on-write', 'read-write'].map(access => run(path, access, over)))
      console.log(torn.every(count => count > 0) ? 'torn' : 'they have not met')
      console.error(torn.join(' '))`)
      console.log(`torn so often: ${ending.stderr}`)
      expect(ending).toMatchObject({ code: 0, signal: null, stdout: 'torn\n' })
    })

    test('is survived in two workers at once beside it', async () => {
      const ending = await node(`
      ${race}
      const { run } = await import(${JSON.stringify(runnerFile)})
      const work = \`
        const { parentPort, workerData: { path, over } } = require('node:worker_threads')
        import(${JSON.stringify(runnerFile)}).then(async ({ run }) => {
          parentPort.postMessage('ready')
          const torn = await Promise.all([run(path, 'read', over), run(path, 'copy-on-write', over)])
          parentPort.postMessage(torn[0] + torn[1])
        })\`
      const workers = [1, 2].map(() => new Worker(work, { eval: true, execArgv: [], workerData: { path, over } }))
      const messages = () => Promise.all(workers.map(worker => new Promise((resolve, reject) =>
        worker.once('message', resolve).once('error', reject))))
      await messages()
      race()
      const torn = await Promise.all([messages(), run(path, 'read', over)])
      console.log(torn.flat().every(count => count > 0) ? 'torn' : 'they have not met')
      console.error(torn.flat().join(' '))`)
      console.log(`torn so often: ${ending.stderr}`)
      expect(ending).toMatchObject({ code: 0, signal: null, stdout: 'torn\n' })
    })
  },
)

onUnix('there are no signals').describe('a SIGBUS that is sent', () => {
  const mapped = `const mapping = await map(path, 'user-blocking'); mapping.view();`

  test('kills as before', async () => {
    const { signal } = await node(`${mapped} process.kill(process.pid, 'SIGBUS'); await sleep(5000)`)
    expect(signal).toBe('SIGBUS')
  })

  test('reaches process.on, before and after', async () => {
    for (const [before, after] of [
      ['', mapped],
      [mapped, ''],
      [mapped, 'await map(path, "background");'],
    ]) {
      const { code, stdout } = await node(
        `${before}
         process.on('SIGBUS', () => { console.log('caught'); process.exit(7) })
         ${after}
         process.kill(process.pid, 'SIGBUS')
         await sleep(5000)`,
      )
      expect({ code, stdout }).toEqual({ code: 7, stdout: 'caught\n' })
    }
  })

  test('process.on does not take the handler away for longer than to the next view or map', async () => {
    const { code, stdout, stderr } = await node(
      `const mapping = await map(path, 'user-blocking')
       process.on('SIGBUS', () => {})
       const view = mapping.view()
       truncate(path, 0)
       console.log(view[5000], mapping.torn)
       process.exit()`,
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '0 true\n', stderr: '' })
  })
})

test('a fault on a thread of somebody else’s that reads a view is survived', async () => {
  const name = file('zipped', 4 * MiB)
  await using mapping = await map(name, 'user-blocking')
  using _ = mapping.pin()
  const view = mapping.view()
  truncate(name, 0)
  const zipped = await promisify(gzip)(view)
  expect(gunzipSync(zipped).equals(Buffer.alloc(4 * MiB))).toBe(true)
  expect(mapping.torn).toBe(true)
})

test('WebAssembly traps are still caught', async () => {
  const { code, stdout } = await node(`
    const mapping = await map(path, 'user-blocking')
    const view = mapping.view()
    // One page of memory, and a function that loads from where it is told.
    const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 5, 1, 1, 102,
      0, 0, 10, 9, 1, 7, 0, 32, 0, 40, 2, 0, 11]
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports
    let caught = 0
    for (let i = 0; i < 10000; i++) {
      if (i === 5000) truncate(path, 0)
      if (i > 5000 && view[i] !== 0) break
      try { f(0x7fff0000) } catch (error) { if (error instanceof WebAssembly.RuntimeError) caught++ }
    }
    console.log(caught, mapping.torn)`)
  expect({ code, stdout }).toEqual({ code: 0, stdout: '10000 true\n' })
})

onUnix('nobody tells how many maps there are').test(
  'ten thousand pages that are gone cost one map, not ten thousand',
  async () => {
    const name = file('many-pages', 40 * MiB)
    await using mapping = await map(name, 'user-blocking')
    const view = mapping.view()
    const maps = () => fs.readFileSync('/proc/self/maps', 'latin1').split('\n').length
    const before = maps()
    truncate(name, 0)
    let sum = 0
    for (let i = 0; i < view.length; i += 4096) sum += view[i]!
    expect(sum).toBe(0)
    expect(maps() - before).toBeLessThan(10)
  },
)
