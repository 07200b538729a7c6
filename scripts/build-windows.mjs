// `npm run build:windows`: the addons for Windows, built here with mingw-w64, each into its package's prebuilds. They
// bring their C++ runtime with them, and import from nothing but Windows itself and, late, from the program they are in.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { addon, nodeHeaders, packagesWithAddon, root } from './addons.mjs'

/** Of libuv, what the addons call; Node-API's functions are in node-api-headers' lists. */
const uv = [
  'async_init',
  'async_send',
  'close',
  'get_osfhandle',
  'ip4_addr',
  'ip6_addr',
  'ip_name',
  'open_osfhandle',
  'ref',
  'translate_sys_error',
  'unref',
]
/** What every Windows has. */
const systemDlls = ['kernel32.dll', 'msvcrt.dll', 'ntdll.dll', 'ws2_32.dll', 'mswsock.dll']

const prefix = 'x86_64-w64-mingw32-'
const missing = missingTools()
if (missing.length > 0) {
  console.error(
    `not built for Windows: no ${missing.join(', no ')} (on Debian: apt-get install g++-mingw-w64-x86-64-posix)`,
  )
  process.exit(1)
}
const folder = mkdtempSync(join(tmpdir(), 'kiruna-windows-'))
try {
  importLibrary()
  for (const name of packagesWithAddon('win32')) {
    const { folder, file, flags, sources, libraries } = addon(name, 'win32')
    build(join(folder, 'prebuilds/win32-x64', file), sources, [...flags, ...libraries])
  }
  // For the contract's tests: pipes that node:fs can read and write.
  const pipe = join(root, 'contract/src/stream/windows-pipe.cc')
  build(join(root, 'contract/build/windows-pipe.node'), [pipe], ['-DNAPI_VERSION=8', `-I${nodeHeaders()}`])
} finally {
  rmSync(folder, { recursive: true })
}

function missingTools() {
  const tools = [`${prefix}g++-posix`, `${prefix}dlltool`, `${prefix}objdump`]
  return tools.filter(tool => spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0)
}

/** libnode.a: what the host has, to be looked up at the first call. */
function importLibrary() {
  const headers = dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json'))
  const names = ['js_native_api', 'node_api'].flatMap(list =>
    readFileSync(join(headers, 'def', `${list}.def`), 'utf8')
      .split('\n')
      .map(line => line.trim())
      .filter(line => line.startsWith('napi_') || line.startsWith('node_api_')),
  )
  names.push(...uv.map(name => `uv_${name}`))
  writeFileSync(join(folder, 'node.def'), `EXPORTS\n${[...new Set(names)].join('\n')}\n`)
  run(`${prefix}dlltool`, ['-D', 'node.exe', '-d', join(folder, 'node.def'), '-y', join(folder, 'libnode.a')])
}

/** @param {string} output @param {string[]} sources @param {string[]} flags and libraries */
function build(output, sources, flags) {
  mkdirSync(dirname(output), { recursive: true })
  run(`${prefix}g++-posix`, [
    ...['-O2', '-shared', '-static', '-s', '-o', output],
    // Windows 10. An addon's functions are its own, but for those that Node looks for.
    ...['-D_WIN32_WINNT=0x0A00', '-DWIN32_LEAN_AND_MEAN', '-DNOMINMAX'],
    ...sources,
    join(root, 'scripts/windows/host.cc'),
    ...[`-L${folder}`, '-lnode', ...flags],
  ])
  checkImports(output)
  console.log(relative(root, output))
}

/** @param {string} output */
function checkImports(output) {
  const table = run(`${prefix}objdump`, ['-p', output])
  const strangers = [...table.matchAll(/DLL Name: (\S+)/g)]
    .map(([, name]) => /** @type {string} */ (name).toLowerCase())
    .filter(name => !systemDlls.includes(name))
  if (strangers.length > 0) throw new Error(`${output} needs ${strangers.join(', ')}`)
}

/** @param {string} command @param {string[]} args */
function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 26 })
  if (status === 0) return stdout
  throw new Error(`${command} ended with ${status ?? error}\n${stderr}`)
}
