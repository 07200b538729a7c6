// On Windows, where vitest does not go: test-windows.mjs runs it.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'

const isWindows = process.platform === 'win32'
const ioUrl = new URL('../dist/io.js', import.meta.url).href
const netUrl = new URL('../dist/net.js', import.meta.url).href

/** What a process with these variables says of itself, and of a file. */
function inChild(variables: Record<string, string>, before = ''): unknown {
  const source = `${before}
    const { implementation, seek, stream } = await import(${JSON.stringify(ioUrl)})
    const bytes = await seek.readAll(process.execPath, 'user-blocking')
    const { done } = await stream.read(process.execPath, 'background').next()
    console.log(JSON.stringify([implementation(), bytes.length > 1e6, done]))`
  return outputOf(source, variables)
}

function outputOf(source: string, variables: Record<string, string>): unknown {
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

test('sockets are win-socket’s on Windows, and node:net’s where it is not installed or not wanted', {
  skip: !isWindows && 'not Windows',
}, () => {
  const print = `console.log(JSON.stringify((await import(${JSON.stringify(netUrl)})).implementation()))`
  assert.deepEqual(outputOf(print, { KIRUNA_IO: '' }), { name: 'iocp' })
  const reason = 'KIRUNA_IO=libuv'
  assert.deepEqual(outputOf(print, { KIRUNA_IO: 'libuv' }), { name: 'libuv', reason })
  const without = `
    import { registerHooks } from 'node:module'
    registerHooks({ resolve(specifier, context, next) {
      if (!specifier.startsWith('@kiruna/win-iocp')) return next(specifier, context)
      throw Object.assign(new Error("Cannot find package '@kiruna/win-iocp'"), { code: 'ERR_MODULE_NOT_FOUND' })
    } })
    ${print}`
  const missing = '@kiruna/win-iocp is not installed'
  assert.deepEqual(outputOf(without, { KIRUNA_IO: '' }), { name: 'libuv', reason: missing })
})
