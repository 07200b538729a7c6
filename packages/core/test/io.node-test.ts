// On Windows, where vitest does not go: test-windows.mjs runs it.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

const isWindows = process.platform === 'win32'
const ioUrl = new URL('../dist/io.js', import.meta.url).href

/** What a process with these variables says of itself, and of a file. */
function inChild(variables: Record<string, string>, before = ''): unknown {
  const source = `${before}
    const { implementation, seek, stream } = await import(${JSON.stringify(ioUrl)})
    const bytes = await seek.readAll(process.execPath, 'user-blocking')
    const { done } = await stream.read(process.execPath, 'background').next()
    console.log(JSON.stringify([implementation(), bytes.length > 1e6, done]))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', source], {
    env: { ...process.env, ...variables },
    encoding: 'utf8',
  })
  assert.equal(stderr, '')
  return JSON.parse(stdout)
}

test('on Windows, core chooses win-iocp by itself', { skip: !isWindows && 'not Windows' }, () => {
  assert.deepEqual(inChild({ KIRUNA_IO: '' }), [{ name: 'iocp' }, true, false])
})

test('without the addon it falls back to libuv, and says why', { skip: !isWindows && 'not Windows' }, () => {
  const refused = "process.dlopen = () => { throw new Error('refused') }"
  const [{ name, reason }] = inChild({ KIRUNA_IO: '' }, refused) as [{ name: string; reason: string }]
  assert.equal(name, 'libuv')
  assert.match(reason, /^the addon could not be loaded \(refused/)
})

test('KIRUNA_IO=libuv is libuv', { skip: !isWindows && 'not Windows' }, () => {
  const reason = 'KIRUNA_IO=libuv'
  assert.deepEqual(inChild({ KIRUNA_IO: 'libuv' }), [{ name: 'libuv', reason }, true, false])
})
