import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Why `node --test` cannot run TypeScript here; undefined: it can. */
export const noTypeScript =
  'typescript' in process.features && process.features.typescript
    ? undefined
    : `Node ${process.versions.node} does not run TypeScript`

/** Runs what one implementation has to keep under `node --test`: none of it fails, and there is much of it. */
export function passes(file: string, implementation: string, env: Record<string, string> = {}): void {
  const { NODE_OPTIONS: _, ...inherited } = process.env
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [
      '--test',
      '--test-reporter=spec',
      `--test-name-pattern=${implementation}`,
      fileURLToPath(new URL(file, import.meta.url)),
    ],
    { env: { ...inherited, NO_COLOR: '1', ...env }, encoding: 'utf8', timeout: 110_000 },
  )
  const count = (what: string) => Number(new RegExp(`^ℹ ${what} (\\d+)$`, 'm').exec(stdout)?.[1])
  const failing = stdout.slice(stdout.indexOf('failing tests:')) + stderr
  assert.deepEqual(
    { fail: count('fail'), cancelled: count('cancelled'), status },
    { fail: 0, cancelled: 0, status: 0 },
    failing,
  )
  assert.ok(count('pass') > 50, stdout)
}
