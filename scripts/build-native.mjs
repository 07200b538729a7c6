// Builds the native addon of the package in the current folder, if this machine can and something changed.
// Without a compiler it says so and succeeds: Kiruna works without its addons.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { root } from './addons.mjs'

const { name, addonOs } = JSON.parse(readFileSync('package.json', 'utf8'))
const compiler = process.env.CXX ?? 'g++'

if (addonOs.includes(process.platform) && !isFresh()) {
  const missing = missingTools()
  if (missing.length > 0) {
    console.log(
      `${name}: not built, ${missing.join(', ')} missing (on Debian: apt-get install g++ make python3); ` +
        'Kiruna goes on without it',
    )
  } else {
    process.exitCode = nodeGyp()
  }
}

function isFresh() {
  if (!existsSync('build/Release')) return false
  const built = readdirSync('build/Release').filter(file => file.endsWith('.node'))
  if (built.length === 0) return false
  const sources = ['src', join(root, 'packages/priority/include')].flatMap(folder =>
    readdirSync(folder, { encoding: 'utf8', recursive: true }).map(file => join(folder, file)),
  )
  const newestSourceMs = Math.max(
    ...['binding.gyp', ...sources.filter(file => /\.(cc|h)$/.test(file))].map(modifiedMs),
  )
  return built.every(file => modifiedMs(join('build/Release', file)) > newestSourceMs)
}

/** @param {string} file */
function modifiedMs(file) {
  return statSync(file).mtimeMs
}

// Each is run, not only looked for: python3 may be a pyenv shim with no Python behind it.
function missingTools() {
  const missing = []
  const [program = '', ...flags] = compiler.split(' ') // CXX='ccache g++'
  if (!runs(program, [...flags, '--version'])) missing.push(`a C++ compiler (${compiler})`)
  if (!runs('make', ['--version'])) missing.push('make')
  if (!runs(process.env.PYTHON ?? 'python3', ['-c', 'import sys'])) missing.push('python3')
  return missing
}

/** @param {string} command @param {string[]} args */
function runs(command, args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function nodeGyp() {
  const env = { ...process.env }
  // The Node that runs this brings its own headers; without them node-gyp would download some.
  const nodeFolder = dirname(dirname(realpathSync(process.execPath)))
  if (existsSync(join(nodeFolder, 'include/node/node_api.h'))) env.npm_config_nodedir = nodeFolder
  const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
  const { status, stdout, stderr } = spawnSync(process.execPath, [gyp, 'configure', 'build'], {
    env,
    encoding: 'utf8',
  })
  if (status !== 0) console.error(`${stdout}${stderr}${name}: the native build failed`)
  else for (const line of stderr.split('\n')) if (line.includes('warning:')) console.log(`${name}: ${line}`)
  return status ?? 1
}
