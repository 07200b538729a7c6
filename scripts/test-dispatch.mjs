// `npm run test:dispatch`: what is for macOS on Linux, over swift-corelibs-libdispatch, whose
// prefix KIRUNA_LIBDISPATCH names: the same sources, built with clang, against the contract and their own tests.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, realpathSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { addon, root } from './addons.mjs'

const prefix = process.env.KIRUNA_LIBDISPATCH
if (!prefix) {
  console.log(
    'SKIPPED: test:dispatch: KIRUNA_LIBDISPATCH does not name a prefix of swift-corelibs-libdispatch',
  )
  process.exit()
}
if (!existsSync(join(prefix, 'include/dispatch/dispatch.h'))) {
  throw new Error(`KIRUNA_LIBDISPATCH: there is no include/dispatch/dispatch.h in ${prefix}`)
}
run(process.execPath, [join(root, 'scripts/run.mjs'), 'build'])
const node = realpathSync(join(root, 'node_modules/.bin/node'))
/** @type {string[]} */
const built = []
// The next `npm test` would load them too. An interrupt ends the child that runs, and then this script.
process
  .on('SIGINT', () => {})
  .on('exit', () => {
    for (const output of built) rmSync(output, { force: true })
  })
for (const name of ['darwin-dispatch', 'darwin-socket']) build(name)
const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...process.argv.slice(2)]
run(node, [...vitest, 'packages/darwin-'])
run(node, [...vitest, 'packages/net-socket/', 'contract/src/', '-t', '@kiruna/darwin-'])

/** @param {string} name of a package */
function build(name) {
  const { folder, file, flags, sources } = addon(name, 'darwin')
  const output = join(folder, 'build/Release', file)
  mkdirSync(dirname(output), { recursive: true })
  built.push(output)
  run(process.env.CLANG ?? 'clang++', [
    ...[...flags, '-O2', '-g', '-fblocks', '-fPIC', '-shared'],
    ...[`-I${prefix}/include`, `-L${prefix}/lib`, `-Wl,-rpath,${prefix}/lib`],
    ...[...sources, '-ldispatch', '-lBlocksRuntime', '-o', output],
  ])
}

/** @param {string} command @param {string[]} args */
function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}
