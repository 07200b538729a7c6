import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Test } from './contract.ts'

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB

const all = Buffer.alloc(8 * MiB)
for (let at = 0; at < all.length; at += 4) all.writeUInt32LE(Math.imul(at + 1, 0x9e37_79b1) >>> 0, at)

/** Windows by way of wine, which shows less than Windows does. */
export const isWine = process.env.KIRUNA_WINE === '1'

/** Bytes that tell where they are from: no two places look alike, nor two files of different `seed`. */
export function pattern(lengthBytes: number, seed = 0): Buffer {
  return all.subarray(seed * 13, seed * 13 + lengthBytes)
}

/** Writes a file into the test's folder. */
export function file({ folder }: Pick<Test, 'folder'>, name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** Runs with an empty folder, and removes it. */
export async function withFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'kiruna-')))
  let isDone = false
  try {
    const value = await run(folder)
    isDone = true
    return value
  } finally {
    // On Windows a folder stays as long as a file that was in it is open: a close that nobody waits for, or for ever, what
    // a test that has failed leaves.
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 10 }).catch(error => {
      if (isDone) throw error
    })
  }
}

/** What this process has open in the folder. Only Linux tells: elsewhere, nothing. */
export function openIn(folder: string): string[] {
  if (process.platform !== 'linux') return []
  const open = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`)
      if (path.startsWith(folder + sep)) open.push(path)
    } catch {} // the fd that has listed the folder
  }
  return open
}

/** Nothing of the folder stays open. A close that nobody waits for may take a moment. */
export async function assertAllClosed(folder: string): Promise<void> {
  // One look decides: a file that is opened late, and closed at once, may come between two.
  let open = openIn(folder)
  for (let waits = 0; waits < 200 && open.length > 0; waits++) {
    await setTimeout(10)
    open = openIn(folder)
  }
  assert.deepEqual(open, [])
}
