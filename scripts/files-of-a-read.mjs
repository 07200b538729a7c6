// `npm run files-of-a-read`: which files of ours run code between a call of File.read and the system call that it makes,
// by V8's own counts: of @kiruna/linux-seek used alone, and through core. What follows on the completion is not counted.
import { spawnSync } from 'node:child_process'
import { Session } from 'node:inspector'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'

const root = fileURLToPath(new URL('..', import.meta.url))
/** Of linux-seek used alone. */
const mostFiles = 8

/**
 * @typedef {import('../packages/fs-seek/src/seek.ts').Seek} Seek
 * @typedef {import('../packages/priority/src/priority.ts').Caller} Caller
 * @typedef {import('node:inspector').Profiler.ScriptCoverage} ScriptCoverage
 */

/**
 * Who reads, each in a process of its own: core is not to be loaded where a package is used alone.
 * @type {Record<string, { what: string, start(): Promise<{ seek: Seek, read: (read: (caller: Caller) => void) => void }> }>}
 */
const readers = {
  alone: {
    what: '@kiruna/linux-seek, used alone,',
    start: async () => ({ seek: await load('linux-seek/dist/seek.js'), read: read => read('user-blocking') }),
  },
  core: {
    what: '@kiruna/core/io, in a task,',
    async start() {
      const { spawn } = await load('core/dist/default-scheduler.js')
      const { seek, implementation } = await load('core/dist/io.js')
      const { name, reason } = implementation()
      if (name !== 'io_uring') throw new Error(`There is no io_uring here: ${reason}`)
      return {
        seek,
        read: read => void spawn('user-blocking', /** @param {Caller} task */ async task => read(task)),
      }
    },
  },
}

const [reader] = process.argv.slice(2)
if (process.platform !== 'linux') console.log('SKIPPED: files-of-a-read: io_uring is for Linux')
else if (reader !== undefined) await print(reader)
else {
  for (const one of Object.keys(readers)) {
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), one], {
      stdio: 'inherit',
    })
    if (status !== 0) process.exitCode = 1
  }
}

/** @param {string} reader */
async function print(reader) {
  const { what, start } = readers[reader] ?? {}
  if (!what || !start) throw new Error(`one of ${Object.keys(readers).join(', ')}`)
  const { seek, read } = await start()
  const files = byFile(await coverageOfRead(seek, read))
  const isTooMany = reader === 'alone' && files.length > mostFiles
  console.log(`A warm File.read of ${what} to its system call: ${files.length} files`)
  for (const [file, functions] of files) console.log(`  ${file}: ${functions.join(', ')}`)
  if (isTooMany) console.error(`These are more than ${mostFiles}.`)
  if (isTooMany) process.exitCode = 1
}

/** @param {string} file @returns {Promise<any>} */
function load(file) {
  return import(pathToFileURL(join(root, 'packages', file)).href)
}

/**
 * What runs between the call of `file.read` and `enter`.
 * @param {Seek} seek @param {(read: (caller: Caller) => void) => void} read @returns {Promise<ScriptCoverage[]>}
 */
async function coverageOfRead(seek, read) {
  setFlagsFromString('--no-opt') // a function that is inlined into another would not be counted
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  const file = await seek.open(process.execPath, 'user-blocking')
  const buffer = Buffer.alloc(4096)
  /** @returns {Promise<void>} */
  const once = (start = () => {}) =>
    new Promise((resolve, reject) =>
      read(caller => {
        start()
        file.read(buffer, 0, caller).then(() => resolve(), reject)
      }),
    )
  for (let time = 0; time < 20; time++) await once()
  await sleep(20) // what the last one has left to do is done by then

  const native = loadedAddon()
  const { enter } = native
  /** @type {ScriptCoverage[] | undefined} */
  let coverage
  native.enter = count => {
    coverage ??= take(session)
    return enter(count)
  }
  await once(() => take(session)) // the counts begin anew
  native.enter = enter
  await file.close()
  if (coverage === undefined) throw new Error('The read has made no system call.')
  return coverage
}

/** The object that the ring calls. @returns {{ enter(count: number): number }} */
function loadedAddon() {
  const { cache } = createRequire(import.meta.url)
  return Object.values(cache).find(module => module?.filename.endsWith('uring.node'))?.exports
}

/** What has run since the last time. @param {Session} session @returns {ScriptCoverage[]} */
function take(session) {
  /** @type {ScriptCoverage[]} */
  let result = []
  // A session of this same thread answers at once.
  session.post('Profiler.takePreciseCoverage', (error, answer) => {
    if (error) throw error
    result = answer.result
  })
  return result
}

/** @param {ScriptCoverage[]} coverage @returns {[file: string, functions: string[]][]} */
function byFile(coverage) {
  const packages = pathToFileURL(join(root, 'packages')).href
  return coverage
    .filter(({ url }) => url.startsWith(packages))
    .map(({ url, functions }) => {
      const path = relative(root, fileURLToPath(url)).replace('/dist/', '/src/').replace(/js$/, 'ts')
      const called = functions.filter(({ ranges }) => (ranges[0]?.count ?? 0) > 0)
      return /** @type {[string, string[]]} */ ([
        path,
        called.map(({ functionName }) => functionName || '=>'),
      ])
    })
    .filter(([, functions]) => functions.length > 0)
    .sort()
}
