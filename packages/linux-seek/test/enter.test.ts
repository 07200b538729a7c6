import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { loadNative } from '../../linux-uring/dist/native.js'
import * as seek from '../src/seek.ts'

const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-enter-'))
const path = join(folder, 'file')
fs.writeFileSync(path, Buffer.alloc(4 * 1024 * 1024, 'kiruna'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** How many submissions each call hands over while `during` runs. */
async function submissions(during: () => Promise<unknown>): Promise<number[]> {
  const counts: number[] = []
  const native = loadNative()
  const { enter } = native
  native.enter = count => {
    if (count > 0) counts.push(count)
    return enter(count)
  }
  await during()
  native.enter = enter
  return counts
}

async function readTogether(count: number, lengthBytes: number): Promise<number[]> {
  const file = await seek.open(path, 'user-blocking')
  const counts = await submissions(() =>
    Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const buffer = Buffer.alloc(lengthBytes)
        expect(await file.read(buffer, i * lengthBytes, 'user-blocking')).toBe(lengthBytes)
        expect(buffer.equals(fs.readFileSync(path).subarray(i * lengthBytes, (i + 1) * lengthBytes))).toBe(
          true,
        )
      }),
    ),
  )
  await file.close()
  return counts
}

test('one call of enter copies at most 256 KiB on this thread', async () => {
  const counts = await readTogether(64, 48 * 1024)
  expect(Math.max(...counts)).toBe(5)
  expect(counts.reduce((sum, count) => sum + count)).toBe(64)
})

test('and takes as many small reads as the queue has room for', async () => {
  expect(await readTogether(64, 4096)).toEqual([64])
})
