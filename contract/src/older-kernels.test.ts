import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'vitest'
import { sockets } from './implementations.ts'
import { noTypeScript, passes } from './node-test.test-support.ts'

const { missing } = sockets.find(({ name }) => name === '@kiruna/linux-socket')!
const oldKernel = fileURLToPath(new URL('../../packages/linux-seek/test/old-kernel.c', import.meta.url))

test('sockets need no operation of a ring that Linux 6.0 has not', { timeout: 120_000 }, context => {
  const reason = missing ?? noTypeScript
  if (reason !== undefined) {
    console.warn(`skipped: ${reason}`)
    return context.skip(reason)
  }
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-older-kernels-'))
  try {
    const library = join(folder, 'old-kernel.so')
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, oldKernel])
    const preload = [process.env.LD_PRELOAD, library].filter(Boolean).join(':') // `npm run test:asan` has one too
    passes('net.node-test.ts', '@kiruna/linux-socket', { LD_PRELOAD: preload, KERNEL: '600' })
  } finally {
    rmSync(folder, { recursive: true })
  }
})
