import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Priority } from '@kiruna/priority'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as seek from '../src/seek.ts'

const pieceBytes = 256 * 1024
const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-readahead-'))
const path = join(folder, 'file')

beforeAll(() => {
  fs.writeFileSync(path, Buffer.alloc(32 * pieceBytes, 1))
  fs.fsyncSync(fs.openSync(path, 'r+'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** @see fincore(1) */
function cachedBytes(): number {
  return Number(
    execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', path], { encoding: 'utf8' }),
  )
}

/** Out of the page cache: dd with nothing to copy gives posix_fadvise(2) the chance to. */
function dropFromCache(): void {
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none'])
}

async function cachedAfterThreePieces(priorities: Priority[]): Promise<number> {
  dropFromCache()
  const file = await seek.open(path, 'realtime')
  let position = 0
  for (const priority of priorities) {
    await file.read(Buffer.alloc(pieceBytes), position, priority)
    position += pieceBytes
  }
  await file.close()
  return cachedBytes()
}

/** Not on tmpfs, and not where the disk has read_ahead_kb at 0. */
async function readsAhead(): Promise<boolean> {
  return (await cachedAfterThreePieces(['realtime', 'realtime', 'realtime'])) > 3 * pieceBytes
}

test('for a scan below user-blocking the kernel reads nothing ahead: the urgent could not pass it', async ({
  skip,
}) => {
  if (!(await readsAhead())) return skip('the kernel reads nothing ahead here')
  expect(await cachedAfterThreePieces(['background', 'user-visible', 'background'])).toBe(3 * pieceBytes)
})

test('and it reads ahead again for the urgent who come after the scan', async ({ skip }) => {
  if (!(await readsAhead())) return skip('the kernel reads nothing ahead here')
  expect(await cachedAfterThreePieces(['background', 'realtime', 'realtime'])).toBeGreaterThan(3 * pieceBytes)
})
