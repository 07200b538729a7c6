import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'vitest'

test('the contract runs under node --test as well', { timeout: 120_000 }, context => {
  if (!('typescript' in process.features) || !process.features.typescript) {
    console.warn(`skipped: Node ${process.versions.node} does not run TypeScript`)
    context.skip('no type stripping')
  }
  const path = fileURLToPath(new URL('seek.node-test.ts', import.meta.url))
  // One implementation will do: what is looked at is the runner.
  const { NODE_OPTIONS: _, ...env } = process.env
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--test', '--test-reporter=spec', '--test-name-pattern=node-libuv', path],
    {
      env: { ...env, NO_COLOR: '1' },
      encoding: 'utf8',
      timeout: 110_000,
    },
  )
  const count = (what: string) => Number(new RegExp(`^ℹ ${what} (\\d+)$`, 'm').exec(stdout)?.[1])
  const failing = stdout.slice(stdout.indexOf('failing tests:')) + stderr
  assert.equal(count('fail'), 0, failing)
  assert.equal(count('cancelled'), 0, failing)
  assert.ok(count('pass') > 50, stdout)
  assert.equal(status, 0, failing)
})
