import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Asker, Priority } from '@kiruna/priority'
import { lane } from '@kiruna/priority/lane'
import { type Mapping, map } from '../src/mmap.ts'
import { held, residentBytes } from './mapped-files.test-support.ts'
import { afterAll, beforeAll, describe, expect, test } from './runner.test-support.ts'

const MiB = 1024 * 1024
let folder = ''
let large = ''
const largeBytes = 512 * MiB
const ones = Buffer.alloc(20 * MiB, 1)
const isWindows = process.platform === 'win32'

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-prefault-'))
  large = join(folder, 'large')
  fs.writeFileSync(large, '')
  fs.truncateSync(large, largeBytes) // a hole: its pages are made, as quickly as cached ones are found
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** A caller whose priority can be changed, and who counts those who listen for that. */
class Changeable implements Asker {
  #priority: Priority
  readonly listeners = new Set<() => void>()

  constructor(priority: Priority) {
    this.#priority = priority
  }

  get priority(): Priority {
    return this.#priority
  }

  set priority(priority: Priority) {
    this.#priority = priority
    for (const listener of this.listeners) listener()
  }

  onPriorityChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
}

/** From the page cache. Windows has no call for it. */
function evict(path: string): void {
  if (isWindows) return
  execFileSync('sync', [path])
  const advise =
    'import os,sys; os.posix_fadvise(os.open(sys.argv[1], os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)'
  execFileSync('python3', ['-c', advise, path])
}

describe.each(['read', 'copy-on-write', 'read-write'] as const)('prefault with access %s', access => {
  test('resolves when the pages are in this process', async () => {
    const name = join(folder, `cold-${access}`)
    fs.writeFileSync(name, ones) // no garbage of that size that may go while the process is measured
    evict(name)
    await using mapping = await map(name, 'user-blocking', { access })
    const before = residentBytes(name)
    if (!isWindows) expect(before).toBe(0)
    await mapping.prefault(5 * MiB + 1, 10 * MiB, 'background')
    expect(residentBytes(name) - before).toBeGreaterThanOrEqual(isWindows ? 9 * MiB : 10 * MiB)
    expect(mapping.view(5 * MiB + 1, 10 * MiB).every(byte => byte === 1)).toBe(true)
  })
})

test('prefault of a mapping that begins and ends within pages', async () => {
  const name = join(folder, 'odd')
  fs.writeFileSync(name, Buffer.alloc(10_000, 1))
  await using mapping = await map(name, 'user-blocking', { offsetBytes: 4095, lengthBytes: 2 })
  await mapping.prefault(0, 2, 'user-blocking')
  await mapping.prefault(1, 1, 'realtime')
  expect(residentBytes(name)).toBeGreaterThanOrEqual(8192)
})

describe('the most urgent prefault comes first', () => {
  /** So many at `caller`'s priority, of 16 MiB each; how many are done. */
  function flood(mapping: Mapping, caller: Priority, count: number) {
    const state = { done: 0, all: Promise.resolve() as Promise<unknown> }
    const one = async (i: number) => {
      await mapping.prefault((i * 16 * MiB) % largeBytes, 16 * MiB, caller)
      state.done++
    }
    state.all = Promise.all(Array.from({ length: count }, (_, i) => one(i)))
    return state
  }

  test('a realtime one overtakes what waits, and what is under way between two chunks', async () => {
    await using mapping = await map(large, 'user-blocking')
    const before = flood(mapping, 'user-blocking', 32)
    await mapping.prefault(0, 4096, 'realtime')
    expect(before.done).toBeLessThan(16)
    await before.all
  })

  test('one that is raised moves up, from the thread’s queue too', async () => {
    await using mapping = await map(large, 'user-blocking')
    const caller = new Changeable('background')
    const before = flood(mapping, 'user-blocking', 32)
    const raised = mapping.prefault(0, 4096, caller)
    expect(caller.listeners.size).toBe(1)
    caller.priority = 'realtime'
    await raised
    expect(before.done).toBeLessThan(16)
    expect(caller.listeners.size).toBe(0)
    await before.all
  })

  test('one that is lowered gives way', async () => {
    await using mapping = await map(large, 'user-blocking')
    const caller = new Changeable('user-blocking')
    const lowered = mapping.prefault(0, largeBytes, caller)
    caller.priority = 'background'
    let isDone = false
    lowered.then(() => (isDone = true))
    const rest = flood(mapping, 'user-visible', 8)
    await rest.all
    expect(isDone).toBe(false)
    await lowered
  })

  test('a background one leaves the lane between its pieces', async () => {
    await using mapping = await map(large, 'user-blocking')
    // Four of them would hold all of the lane's places until they are done.
    const background = Promise.all([0, 1, 2, 3, 4].map(() => mapping.prefault(0, largeBytes, 'background')))
    let isDone = false
    background.then(() => (isDone = true))
    await mapping.prefault(0, 4096, 'user-visible')
    expect(isDone).toBe(false)
    await background
    expect(lane.isIdle).toBe(true)
  })
})

describe('an abort', () => {
  test('ends a prefault at once, wherever it is', async () => {
    await using mapping = await map(large, 'user-blocking')
    for (const priority of ['user-blocking', 'background'] as const) {
      const controllers = Array.from({ length: 10 }, () => new AbortController())
      const prefaults = controllers.map(({ signal }) =>
        mapping.prefault(0, largeBytes, { priority, signal }).catch(reason => reason),
      )
      await mapping.prefault(0, 1, 'realtime')
      for (const controller of controllers) controller.abort('enough')
      expect(await Promise.all(prefaults)).toEqual(controllers.map(() => 'enough'))
    }
    await mapping.close()
    expect(lane.isIdle).toBe(true)
  })

  test('before it starts, of anything: rejects with the reason', async () => {
    await using mapping = await map(large, 'user-blocking', { access: 'read-write' })
    const caller = { priority: 'user-blocking', signal: AbortSignal.abort('never') } as const
    await expect(map(large, caller)).rejects.toBe('never')
    await expect(mapping.prefault(0, 1, caller)).rejects.toBe('never')
    await expect(mapping.prefault(0, 0, caller)).rejects.toBe('never')
    await expect(mapping.read(0, 1, caller)).rejects.toBe('never')
    await expect(mapping.sync(caller)).rejects.toBe('never')
    await expect(mapping.resize(1, caller)).rejects.toBe('never')
    expect(mapping.byteLength).toBe(largeBytes)
    await expect(Array.fromAsync(mapping.chunks(caller))).rejects.toBe('never')
  })

  test('of a map or a read under way rejects, and leaves nothing behind', async () => {
    await using mapping = await map(large, 'user-blocking')
    for (let round = 0; round < 50; round++) {
      const controller = new AbortController()
      const caller = { priority: 'user-blocking', signal: controller.signal } as const
      const both = [map(large, caller), mapping.read(0, 8 * MiB, caller)]
      if (round % 2) await new Promise(setImmediate)
      controller.abort('enough')
      for (const one of both) {
        const outcome = await one.catch(reason => reason)
        if (outcome !== 'enough' && !Buffer.isBuffer(outcome)) await outcome.close()
      }
    }
    await mapping.close()
    for (let i = 0; i < 100 && held(folder).length > 0; i++)
      await new Promise(resolve => setTimeout(resolve, 10))
    expect(held(folder)).toEqual([])
  })
})

test('close ends prefaults: their promises reject, and it does not wait for a gigabyte', async () => {
  const mapping = await map(large, 'user-blocking')
  const outcomes = [
    'realtime',
    'user-blocking',
    'background',
    'background',
    'background',
    'background',
    'background',
  ].map(priority => mapping.prefault(0, largeBytes, priority as Priority).catch(error => error.message))
  await mapping.close()
  expect(await Promise.all(outcomes)).toEqual(outcomes.map(() => expect.stringMatching(/^file closed/)))
  expect(held(folder)).toEqual([])
  expect(lane.isIdle).toBe(true)
})

describe('chunks', () => {
  const content = Buffer.from(Uint8Array.from({ length: 3 * MiB + 17 }, (_, i) => i * 31 + (i >> 8)))
  let path = ''
  beforeAll(() => {
    path = join(folder, 'chunks')
    fs.writeFileSync(path, content)
  })

  test('are the mapping in order, each a view', async () => {
    await using mapping = await map(path, 'user-blocking', { offsetBytes: 3 })
    const lengths: number[] = []
    let next = 0
    for await (const { offsetBytes, bytes } of mapping.chunks('background')) {
      expect(offsetBytes).toBe(next)
      expect(content.subarray(3 + next, 3 + next + bytes.length).equals(bytes)).toBe(true)
      expect(bytes.buffer).toBe(mapping.view(offsetBytes, 1).buffer)
      next += bytes.length
      lengths.push(bytes.length)
    }
    expect(lengths).toEqual([...Array(12).fill(MiB / 4), 14])
  })

  test.each([
    [{ offsetBytes: 5, lengthBytes: 10, chunkBytes: 4 }, ['5+4', '9+4', '13+2']],
    [{ offsetBytes: 5, lengthBytes: 10, chunkBytes: 4, overlapBytes: 1 }, ['5+4', '8+4', '11+4']],
    [
      { offsetBytes: 5, lengthBytes: 11, chunkBytes: 4, overlapBytes: 3 },
      [5, 6, 7, 8, 9, 10, 11, 12].map(at => `${at}+4`),
    ],
    [{ offsetBytes: 5, lengthBytes: 3, chunkBytes: 4, overlapBytes: 3 }, ['5+3']],
    [{ offsetBytes: 5, lengthBytes: 0 }, []],
  ])('%j', async (options, expected) => {
    await using mapping = await map(path, 'user-blocking')
    const found = await Array.fromAsync(mapping.chunks('user-visible', options))
    expect(found.map(({ offsetBytes, bytes }) => `${offsetBytes}+${bytes.length}`)).toEqual(expected)
    for (const { offsetBytes, bytes } of found) {
      expect(content.subarray(offsetBytes, offsetBytes + bytes.length).equals(bytes)).toBe(true)
    }
  })

  test('those of a long file are of few buffers: each costs the garbage collector', async () => {
    const long = join(folder, 'long')
    fs.writeFileSync(long, '')
    fs.truncateSync(long, 200 * MiB)
    await using mapping = await map(long, 'user-blocking')
    const buffers = new Set<ArrayBufferLike>()
    for await (const { bytes } of mapping.chunks('user-visible', { chunkBytes: 10 * MiB })) {
      buffers.add(bytes.buffer)
    }
    expect(buffers.size).toBe(3)
  })

  test('go on in what there is after a resize', async () => {
    const name = join(folder, 'resized')
    fs.writeFileSync(name, content)
    await using mapping = await map(name, 'user-blocking', { access: 'read-write' })
    const lengths: number[] = []
    for await (const { bytes } of mapping.chunks('user-visible', { chunkBytes: MiB })) {
      lengths.push(bytes.length)
      await mapping.resize(4 * MiB, 'user-visible')
    }
    expect(lengths).toEqual([MiB, MiB, MiB, 17])
  })

  test('leaving the loop ends what is on its way', async () => {
    await using mapping = await map(large, 'user-blocking')
    for await (const _ of mapping.chunks('background', { chunkBytes: 64 * MiB })) break
    const residentAfter = residentBytes(large)
    await mapping.prefault(0, 1, 'background') // what was under way is done
    expect(residentBytes(large) - residentAfter).toBeLessThan(20 * MiB)
    expect(lane.isIdle).toBe(true)
  })

  test('end when the mapping is closed', async () => {
    const mapping = await map(large, 'user-blocking')
    const loop = async () => {
      for await (const _ of mapping.chunks('background')) await mapping.close()
    }
    await expect(loop()).rejects.toMatchObject({
      code: 'EBADF',
      message: expect.stringMatching(/^file closed/),
    })
  })
})
