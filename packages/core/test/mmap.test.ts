import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

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
