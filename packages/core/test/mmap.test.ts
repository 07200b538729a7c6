import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { install, run } from './run-module.test-support.ts'

const core = fileURLToPath(new URL('..', import.meta.url))
const isBuilt = existsSync(new URL('../../fs-mmap/build/Release/mmap.node', import.meta.url))
if (!isBuilt) console.warn('skipped: @kiruna/core/mmap: the addon of fs-mmap is not built')

test.runIf(isBuilt)(
  'a mapping is prefaulted and read on behalf of a task, and goes on at its priority',
  () => {
    const program = `
    import { post, spawn } from '@kiruna/core'
    import { map } from '@kiruna/core/mmap'
    await using mapping = await map('package.json', 'user-blocking')
    const log = []
    const task = spawn('background', async scope => {
      const end = performance.now() + 200
      const job = () => { if (performance.now() < end) post('user-visible', job); else log.push('jobs end') }
      job()
      await mapping.prefault(0, mapping.byteLength, scope)
      log.push(String(await mapping.read(5, 4, scope)))
      for await (const { bytes } of mapping.chunks(scope, { lengthBytes: 4 })) log.push(bytes[0])
    })
    await task
    console.log(log.join(', '))`
    const options = { cwd: core, encoding: 'utf8', timeout: 15_000 } as const
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', program], options)
    expect(out).toBe('jobs end, name, 123\n')
  },
)

describe('where fs-mmap cannot be had, core/mmap is imported all the same, and map rejects with the reason', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'kiruna-core-mmap-'))
    install(folder, ['core', 'priority'])
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  async function expectReason(reason: string): Promise<void> {
    const program = `
      import { map } from '@kiruna/core/mmap'
      await map('package.json', 'user-blocking').catch(error => console.log(error.code + ': ' + error.message))`
    const ended = await run(program, folder)
    expect(ended).toEqual({ code: 0, out: `ERR_KIRUNA_UNAVAILABLE: ${reason}\n`, err: '' })
  }

  test('it is not installed', () => expectReason('@kiruna/fs-mmap is not installed'))

  test('it has no addon for this machine', async () => {
    install(folder, ['fs-mmap'])
    await expectReason(`@kiruna/fs-mmap has no addon for ${process.platform} on ${process.arch}`)
  })

  test('it is broken', async () => {
    install(folder, ['fs-mmap'])
    const main = join(folder, 'node_modules/@kiruna/fs-mmap/dist/mmap.js')
    writeFileSync(main, "throw new Error('broken')")
    await expectReason('broken')
  })
})
