import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, skipIf, test } from './runner.test-support.ts'

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)))
const headers = join(dirname(dirname(fs.realpathSync(process.execPath))), 'include/node')
const canCompile = fs.existsSync(headers) && spawnSync('g++', ['--version']).status === 0
const onlyWithGcc = skipIf(!canCompile, 'a runtime without views: no g++, or no headers of this Node')

/** A copy of the package whose addon is built as for a runtime that allows no memory from outside its heap. */
async function build(folder: string): Promise<string> {
  const copy = join(folder, 'package')
  for (const part of ['dist', 'package.json']) {
    fs.cpSync(join(packageFolder, part), join(copy, part), { recursive: true })
  }
  fs.symlinkSync(join(packageFolder, 'node_modules'), join(copy, 'node_modules'))
  fs.mkdirSync(join(copy, 'build/Release'), { recursive: true })
  // Not there on Windows, where this is compiled but not run.
  const scripts = new URL('../../../scripts/addons.mjs', import.meta.url).href
  const { flags, sources } = (await import(scripts)).addon('fs-mmap', process.platform)
  execFileSync('g++', [
    ...flags,
    ...['-DNODE_API_NO_EXTERNAL_BUFFERS_ALLOWED', '-shared', '-fPIC', '-pthread', '-Wl,-z,nodelete'],
    ...['-o', join(copy, 'build/Release/mmap.node'), ...sources],
  ])
  return join(copy, 'dist/mmap.js')
}

onlyWithGcc.describe('where the runtime allows no views (Electron)', { timeout: 60_000 }, () => {
  let folder = ''
  let mmap: typeof import('../src/mmap.ts')
  let path = ''
  const content = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 31 + (i >> 8)))
  beforeAll(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-no-views-'))
    path = join(folder, 'file')
    fs.writeFileSync(path, content)
    mmap = await import(await build(folder))
  }, 60_000)
  afterAll(() => fs.rmSync(folder, { recursive: true }))

  test('view says what to use instead', async () => {
    await using mapping = await mmap.map(path, 'user-blocking')
    const refused = {
      code: 'ERR_KIRUNA_UNAVAILABLE',
      message: expect.stringMatching(/read, readSync or chunks/),
    }
    expect(() => mapping.view()).toThrow(expect.objectContaining(refused))
    expect(() => mapping.view(5, 5)).toThrow(expect.objectContaining(refused))
    expect(mapping.view(5, 0).length).toBe(0)
  })

  test('read, readSync and chunks copy', async () => {
    await using mapping = await mmap.map(path, 'user-blocking', { offsetBytes: 7 })
    expect(content.subarray(7).equals(await mapping.read(0, mapping.byteLength, 'background'))).toBe(true)
    expect(content.subarray(1007, 1017).equals(mapping.readSync(1000, 10))).toBe(true)
    let next = 0
    for await (const { offsetBytes, bytes } of mapping.chunks('background', { chunkBytes: 700_000 })) {
      expect(offsetBytes).toBe(next)
      expect(content.subarray(7 + next, 7 + next + bytes.length).equals(bytes)).toBe(true)
      next += bytes.length
    }
    expect(next).toBe(content.length - 7)
  })

  test('and so does all else that needs no view', async () => {
    const name = join(folder, 'written')
    fs.writeFileSync(name, 'content')
    await using mapping = await mmap.map(name, 'user-blocking', { access: 'read-write' })
    mapping.write(0, Buffer.from('C'))
    await mapping.resize(10_000, 'user-visible')
    await mapping.prefault(0, 10_000, 'background')
    await mapping.sync('background')
    expect(mapping.readSync(0, 8).toString()).toBe('Content\0')
    fs.truncateSync(name, 0)
    expect(() => mapping.readSync(0, 8)).toThrow(expect.objectContaining({ code: 'ERR_KIRUNA_TORN' }))
    await expect(Array.fromAsync(mapping.chunks('background'))).rejects.toMatchObject({
      code: 'ERR_KIRUNA_TORN',
    })
  })
})
