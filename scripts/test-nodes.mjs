// `npm run test:nodes`: the built packages on every version of Node.js that they are for, each with the system's own
// I/O and with libuv's. The versions come from npm, into a folder that git ignores.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './addons.mjs'

const versions = ['20.19.6', '22', '24', '26']
const program = join(root, 'contract/src/nodes.mjs')

let [passed, failed] = [0, 0]
for (const version of versions) {
  const node = install(version)
  for (const io of ['', 'libuv']) {
    const { stdout, stderr, signal } = spawnSync(node, [program], {
      encoding: 'utf8',
      env: { ...process.env, KIRUNA_IO: io, NODE_OPTIONS: '' },
      timeout: 120_000,
    })
    const isRight = stdout.trimEnd().endsWith('right')
    isRight ? passed++ : failed++
    const told = isRight ? '' : `\n${stdout}${stderr}${signal ?? ''}`
    console.log(`Node.js ${version}, ${io || 'own'}: ${isRight ? 'right' : 'wrong'}${told}`)
  }
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)

/** @param {string} version @returns {string} the executable */
function install(version) {
  const folder = join(root, 'node_modules/.cache/nodes', version)
  const node = join(folder, 'node_modules/node/bin/node')
  if (existsSync(node)) return node
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const { status } = spawnSync('npm', ['install', '--no-audit', '--no-fund', `node@${version}`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) throw new Error(`npm has no node@${version}`)
  return node
}
