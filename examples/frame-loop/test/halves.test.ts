import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compare } from '../src/compare.ts'
import { kiruna } from '../src/kiruna.ts'
import { naive } from '../src/naive.ts'
import { type Result, Run } from '../src/run.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'frame-loop-'))
  await writeFile(join(folder, 'a.txt'), 'a small file of a few words')
  await writeFile(join(folder, 'b.txt'), 'large '.repeat(50_000))
  await writeFile(join(folder, 'c.bin'), Buffer.from('words\0words'))
  await writeFile(join(folder, 'empty'), '')
})
afterAll(() => rm(folder, { recursive: true }))

async function resultOf(half: 'naive' | 'kiruna', names: string[]): Promise<Result> {
  const paths = names.map(name => join(folder, name))
  const run = new Run({ half, paths, openable: paths, seconds: 0.2, live: false })
  await (half === 'naive' ? naive : kiruna)(run)
  return run.result()
}

const all = ['a.txt', 'b.txt', 'c.bin', 'empty']

describe.each(['naive', 'kiruna'] as const)('the %s half', half => {
  test('reads every file, and indexes those that are text', async () => {
    const result = await resultOf(half, all)
    expect(result.words).toBe(7) // a small file of few words; large
    expect(result.unreadable).toEqual([])
    expect(result.passes).toBeGreaterThan(0)
    expect(result.filesRead).toBeGreaterThanOrEqual(result.passes * all.length)
    expect(result.framesDue).toBeGreaterThanOrEqual(result.latenessMs.length)
    expect(result.opensFailed).toBe(0)
  })

  test('counts files that have vanished, and goes on', async () => {
    const result = await resultOf(half, ['gone', 'a.txt', 'gone too'])
    expect(result.unreadable).toEqual([0, 2])
    expect(result.filesFailed).toBeGreaterThanOrEqual(2)
    expect(result.words).toBe(6)
  })
})

describe('the comparison', () => {
  const paths = all // only their number and their order matter here

  test('finds the same files equal', async () => {
    const [a, b] = [await resultOf('naive', all), await resultOf('kiruna', all)]
    expect(compare(paths, a, b, new Set())).toEqual({
      equal: true,
      compared: 4,
      leftOut: 0,
      differing: undefined,
    })
  })

  test('leaves out what only one half could read', async () => {
    const [a, b] = [
      await resultOf('naive', all),
      await resultOf('kiruna', ['a.txt', 'gone', 'c.bin', 'empty']),
    ]
    expect(compare(paths, a, b, new Set())).toMatchObject({ equal: true, compared: 3, leftOut: 1 })
    expect(compare(paths, b, a, new Set())).toMatchObject({ equal: true, compared: 3, leftOut: 1 })
  })

  test('finds a file that differs, unless it was changed meanwhile', async () => {
    const before = await resultOf('naive', all)
    await writeFile(join(folder, 'a.txt'), 'some other words')
    const after = await resultOf('kiruna', all)
    await writeFile(join(folder, 'a.txt'), 'a small file of a few words')
    expect(compare(paths, before, after, new Set())).toMatchObject({ equal: false, differing: paths[0] })
    expect(compare(paths, before, after, new Set([0]))).toMatchObject({ equal: true, compared: 3 })
  })
})
