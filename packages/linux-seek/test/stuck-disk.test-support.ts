import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('stuck-disk.py', import.meta.url))

/** What goes before a command that is to see the files of stuck-disk.py in `folder`, and why that is not to be had here. */
export function stuckDisk(
  folder: string,
  seconds: number,
): { wrapper: [string, ...string[]]; unavailable?: string } {
  const rest = ['--mount', 'python3', script, folder, `${seconds}`]
  const { status, error, stderr } = spawnSync('unshare', [...rest, 'true'], { encoding: 'utf8' })
  const wrapper: [string, ...string[]] = ['unshare', ...rest]
  if (status === 0) return { wrapper }
  const unavailable = `no FUSE here: ${error?.message ?? stderr}`
  console.log(`skipped: ${unavailable}`)
  return { wrapper, unavailable }
}
