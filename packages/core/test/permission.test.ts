import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

const packages = fileURLToPath(new URL('../..', import.meta.url))
const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url))
const url = (name: string) => JSON.stringify(new URL(`../dist/${name}.js`, import.meta.url).href)
const flag = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission'
let folder = ''

beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'kiruna-permission-')))
  for (const name of ['open', 'closed']) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'file'), 'content')
  }
})
afterAll(() => rmSync(folder, { recursive: true }))

const program = (name: string) => `
  import { implementation, seek, stream } from ${url('io')}
  import { map } from ${url('mmap')}
  const folder = ${JSON.stringify(join(folder, name))}, file = folder + '/file'
  const calls = {
    readAll: () => seek.readAll(file, 'background'),
    open: async () => (await seek.open(file, 'background')).close(),
    openToWrite: async () => (await seek.open(file, 'background', { flags: 'r+' })).close(),
    stat: () => seek.stat(file, 'background'),
    readdir: () => seek.readdir(folder, 'background'),
    stream: () => stream.all(file, 'background'),
    streamWrite: async () => { const out = stream.write(file, 'background'); await out.write('x'); await out.end() },
    writeAll: () => seek.writeAll(file, 'x', 'background', { durable: false }), // Node has no fsync then
    writeInPlace: () => seek.writeAll(file, 'x', 'background', { atomic: false, durable: false }),
    map: async () => (await map(file, 'background')).close(),
  }
  for (const [name, call] of Object.entries(calls))
    console.log(name, await call().then(() => 'done', error => [error.code, error.permission, error.resource].join(' ')))`

test.each([
  ['node:fs', 'libuv', []],
  ['the calls of the OS', '', ['--allow-addons']],
])('under the permission model %s refuse what Node refuses', (_, io, flags) => {
  const run = (name: string, allowed: string[]) => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [
        flag,
        ...flags,
        ...[packages, modules, ...allowed].map(path => `--allow-fs-read=${path.replace(/\/$/, '')}/*`),
        ...allowed.map(path => `--allow-fs-write=${path}/*`),
        '--no-warnings',
        '--input-type=module',
        '-e',
        program(name),
      ],
      { encoding: 'utf8', env: { ...process.env, KIRUNA_IO: io, NODE_OPTIONS: '' } },
    )
    expect(stderr).toBe('')
    return stdout
  }
  const file = join(folder, 'closed/file')
  const [read, write] = [
    `ERR_ACCESS_DENIED FileSystemRead ${file}`,
    `ERR_ACCESS_DENIED FileSystemWrite ${file}`,
  ]
  const told = run('closed', [join(folder, 'open')])
  for (const name of ['readAll', 'open', 'openToWrite', 'stat', 'stream', 'map'])
    expect(told).toMatch(new RegExp(`^${name} (${read}|ERR_KIRUNA_UNAVAILABLE)`, 'm'))
  for (const name of ['streamWrite', 'writeAll', 'writeInPlace']) expect(told).toContain(`${name} ${write}\n`)
  expect(told).toContain('readdir ERR_ACCESS_DENIED FileSystemRead')
  const allowed = run('open', [join(folder, 'open')])
  expect(allowed.replace(/^map .*\n/m, '')).toBe(
    'readAll open openToWrite stat readdir stream streamWrite writeAll writeInPlace '.replaceAll(
      ' ',
      ' done\n',
    ),
  )
  expect(readdirSync(join(folder, 'open'))).toEqual(['file'])
})
