// `npm run test:asan`: the tests of the addons, built with AddressSanitizer and UndefinedBehaviorSanitizer beside the real
// ones. Node itself is not: what its own memory does is not seen, nor what it leaks.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'node_modules/.bin')
const node = realpathSync(join(bin, 'node'))
const compiler = process.env.CXX ?? 'g++'
const folder = mkdtempSync(join(tmpdir(), 'kiruna-asan-'))
/** @type {Record<string, string | undefined>} */
const env = {
  ...process.env,
  ASAN_OPTIONS: 'detect_leaks=0',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
}
const tests = []

try {
  for (const name of readdirSync(join(root, 'packages'))) {
    const sources = join(root, 'packages', name, 'src')
    const files = readdirSync(sources).filter(file => file.endsWith('.cc'))
    const manifest = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'))
    const systems = manifest.os ?? manifest.addonOs
    if (files.length === 0 || (systems && !systems.includes(process.platform))) continue
    mkdirSync(join(folder, name, 'build/Release'), { recursive: true })
    run(compiler, [
      ...['-std=c++20', '-g', '-O1', '-fno-omit-frame-pointer', '-shared', '-fPIC', '-fvisibility=hidden'],
      ...['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-DNAPI_VERSION=8'],
      `-I${join(dirname(dirname(node)), 'include/node')}`,
      ...['-o', join(folder, name, 'build/Release/addon.node')],
      ...files.map(file => join(sources, file)),
    ])
    // Where node-gyp-build looks first.
    env[`${manifest.name.toUpperCase().replaceAll('-', '_')}_PREBUILD`] = join(folder, name)
    tests.push(`packages/${name}/`)
  }
  const { stdout } = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' })
  if (!existsSync(stdout.trim())) throw new Error(`${compiler} has no libasan.so`)
  env.LD_PRELOAD = stdout.trim()
  run(node, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...tests, ...process.argv.slice(2)])
} finally {
  rmSync(folder, { recursive: true })
}

/** @param {string} command @param {string[]} args */
function run(command, args) {
  const { status } = spawnSync(command, args, { cwd: root, env, stdio: 'inherit' })
  if (status !== 0) throw new Error(`${command} ended with ${status}`)
}
