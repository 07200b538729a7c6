// `npm run test:asan [-- path…]`: the tests of the addons of this system, built with AddressSanitizer and
// UndefinedBehaviorSanitizer in place of the real ones. Node itself is not: what its own memory does is not seen, nor what
// it leaks.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { addon, packagesWithAddon, root } from './addons.mjs'

const compiler = process.env.CXX ?? 'g++'
const system = /** @type {import('./addons.mjs').System} */ (process.platform)
const runtime = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim()
if (!existsSync(runtime)) throw new Error(`${compiler} has no libasan.so`)
/** @type {Record<string, string | undefined>} */
const env = {
  ...process.env,
  // A SIGBUS is for fs-mmap's handler or for the system; and tests of memory see what is kept back for later.
  ASAN_OPTIONS: 'detect_leaks=0:handle_sigbus=0:quarantine_size_mb=4',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
}

const names = packagesWithAddon(system)
/** @type {string[]} */
const built = []
try {
  for (const name of names) {
    const { folder, file, flags, sources, libraries } = addon(name, system)
    const output = join(folder, 'build/Release', file)
    mkdirSync(dirname(output), { recursive: true })
    rmSync(output, { force: true }) // node-gyp has a link to it elsewhere
    built.push(output)
    run(compiler, [
      ...flags,
      ...['-g', '-O1', '-fno-omit-frame-pointer', '-shared', '-fPIC', '-pthread', '-Wl,-z,nodelete'],
      ...['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'],
      ...['-o', output, ...sources, ...libraries],
    ])
  }
  env.LD_PRELOAD = runtime
  const chosen = process.argv.slice(2)
  const tests = chosen.length > 0 ? chosen : testsOf(names)
  run(join(root, 'node_modules/.bin/node'), [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...tests])
} finally {
  // So that the next build makes the real ones.
  for (const output of built) rmSync(output, { force: true })
}

/** Of these packages, and of those that import one. @param {string[]} names */
function testsOf(names) {
  const importers = readdirSync(join(root, 'packages')).filter(folder => {
    const { dependencies = {} } = JSON.parse(
      readFileSync(join(root, 'packages', folder, 'package.json'), 'utf8'),
    )
    return folder !== 'core' && names.some(name => `@kiruna/${name}` in dependencies)
  })
  return [...names, ...importers].map(folder => `packages/${folder}/`)
}

/** @param {string} command @param {string[]} args */
function run(command, args) {
  const { status } = spawnSync(command, args, { cwd: root, env, stdio: 'inherit' })
  if (status !== 0) throw new Error(`${command} ended with ${status}`)
}
