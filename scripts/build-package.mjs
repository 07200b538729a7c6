// Builds the TypeScript of the package in the current folder, into a dist/ that has nothing of before: tsc leaves what
// it once made of a file that is gone, and it would be published.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'

rmSync('dist', { recursive: true, force: true })
const { status } = spawnSync('tsc', { stdio: 'inherit', shell: process.platform === 'win32' })
process.exitCode = status ?? 1
