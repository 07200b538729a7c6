// Behind `npm start`, `npm test`, `npm run build | bench | lint | format | …:windows`: installs what is missing, builds
// what has changed, then runs. Nothing is installed yet when it starts, so it imports only Node's own modules.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const PNPM = ['--yes', 'pnpm@12.21.0']
const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'node_modules/.bin')
// A user's relative path counts from the folder that npm was called in; npm itself moves to the root.
const userFolder = process.env.INIT_CWD ?? process.cwd()
const env = {
  ...process.env,
  PATH: bin + delimiter + process.env.PATH,
  TURBO_TELEMETRY_DISABLED: '1',
  TURBO_NO_UPDATE_NOTIFIER: '1',
  // vitest colours a pipe too.
  ...(!process.stdout.isTTY && !process.env.FORCE_COLOR && { NO_COLOR: '1' }),
}

const [command = '', ...args] = process.argv.slice(2)
if (!atLeast(20, 19)) fail(`Kiruna needs Node.js 20.19 or later; this is ${process.versions.node}.`)

switch (command) {
  case 'start':
    await install()
    await build()
    await run(nodeForTypeScript(), [join(root, 'examples/frame-loop/src/main.ts'), ...args], userFolder)
    break
  case 'bench':
    await install()
    await build()
    await run(nodeForTypeScript(), [join(root, 'bench/src/main.ts'), ...args], userFolder)
    break
  case 'test':
    await install()
    await build()
    say('Checking types')
    await run('tsc', ['--project', '.'])
    await run('vitest', ['run', ...args])
    break
  case 'build':
    await install()
    await build()
    break
  case 'build:windows':
    await install()
    await run('node', [join(root, 'scripts/build-windows.mjs')])
    break
  case 'test:windows':
    await install()
    await build()
    // On Windows itself, what was built elsewhere is tested.
    if (process.platform !== 'win32') await run('node', [join(root, 'scripts/build-windows.mjs')])
    await run('node', [join(root, 'scripts/test-windows.mjs'), ...args])
    break
  case 'lint':
    await install()
    await run('biome', ['check', ...args])
    await run('jscpd', [])
    await clangFormat(['--dry-run', '--Werror'])
    break
  case 'format':
    await install()
    await run('biome', ['check', '--write', ...args])
    await clangFormat(['-i'])
    break
  default:
    fail(
      'usage: node scripts/run.mjs start | test | build | bench | lint | format | build:windows | test:windows',
    )
}

/** Installs with pnpm, unless nothing that decides what is installed has changed since the last time. */
async function install() {
  const stamp = join(root, 'node_modules/.kiruna-installed')
  const wanted = manifestsHash()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  say('Installing packages (the first time this takes about half a minute)')
  const { code, output } = await capture('npx', [...PNPM, 'install', '--frozen-lockfile'])
  if (code !== 0) {
    console.error(output)
    fail('The packages could not be installed. After a change to a package.json: npm run pnpm -- install')
  }
  mkdirSync(join(root, 'node_modules'), { recursive: true })
  writeFileSync(stamp, wanted)
}

function manifestsHash() {
  const folders = ['.', 'contract', 'bench']
  for (const parent of ['packages', 'examples']) {
    for (const name of readdirSync(join(root, parent)).sort()) folders.push(join(parent, name))
  }
  const files = [
    'pnpm-lock.yaml',
    'pnpm-workspace.yaml',
    ...folders.map(folder => join(folder, 'package.json')),
  ]
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`)
  for (const file of files) {
    if (existsSync(join(root, file))) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)))
  }
  return hash.digest('hex')
}

async function build() {
  say('Building')
  // npx puts pnpm on PATH, where turbo looks for it.
  const turbo = ['turbo', 'run', 'build', 'build:native', '--ui=stream', '--log-prefix=none']
  const { code, output } = await capture('npx', [...PNPM, 'exec', ...turbo])
  if (code !== 0) {
    console.error(output)
    fail('The build failed.', code)
  }
  // What build-native.mjs has to say (a missing compiler) begins with its package's name.
  for (const line of output.split('\n')) if (line.startsWith('@kiruna/')) say(line)
}

/** Node 24 comes with the packages where npm has it; elsewhere your own must know TypeScript. */
function nodeForTypeScript() {
  const installed = join(bin, 'node')
  if (existsSync(installed)) return installed
  if (!atLeast(22, 18)) {
    fail(
      `On this platform running TypeScript takes Node.js 22.18 or later; this is ${process.versions.node}.`,
    )
  }
  return process.execPath
}

/** @param {string[]} options */
async function clangFormat(options) {
  const files = readdirSync(join(root, 'packages'), { recursive: true })
    .map(file => `packages/${file}`)
    .filter(file => /^packages\/[^/]+\/(include|src)\/.*\.(cc|h)$/.test(file))
  if (files.length === 0) return
  const { code } = await capture('clang-format', ['--version'])
  if (code !== 0) return say('clang-format is not installed: the C++ files were left out.')
  await run('clang-format', [...options, ...files])
}

/**
 * Runs to the end on this terminal, and ends with its exit code where that is not 0.
 * @param {string} file @param {string[]} args @param {string} [cwd]
 */
async function run(file, args, cwd = root) {
  const child = spawn(file, args, { cwd, env, stdio: 'inherit', shell: process.platform === 'win32' })
  // Ctrl-C reaches the child by itself: it is in the terminal's foreground group. We only wait for it.
  const wait = () => {}
  /** @param {NodeJS.Signals} signal */
  const forward = signal => void child.kill(signal)
  process.on('SIGINT', wait).on('SIGTERM', forward).on('SIGHUP', forward)
  const code = await exit(child)
  process.off('SIGINT', wait).off('SIGTERM', forward).off('SIGHUP', forward)
  if (code !== 0) process.exit(code)
}

/** @param {string} file @param {string[]} args */
async function capture(file, args) {
  const child = spawn(file, args, {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32',
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', text => (output += text))
  child.stderr.setEncoding('utf8').on('data', text => (output += text))
  const code = await exit(child)
  return { code, output }
}

/** @param {import('node:child_process').ChildProcess} child @returns {Promise<number>} */
function exit(child) {
  return new Promise(resolve => {
    child.on('error', error => {
      if (child.spawnfile !== 'clang-format') console.error(error.message)
      resolve(127)
    })
    child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
}

/** @param {number} major @param {number} minor */
function atLeast(major, minor) {
  const [ownMajor = 0, ownMinor = 0] = process.versions.node.split('.').map(Number)
  return ownMajor > major || (ownMajor === major && ownMinor >= minor)
}

/** @param {string} line */
function say(line) {
  console.log(line)
}

/** @param {string} line @returns {never} */
function fail(line, code = 1) {
  console.error(line)
  process.exit(code)
}
