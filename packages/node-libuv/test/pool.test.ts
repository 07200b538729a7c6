import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Caller, priorities } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Failure, PoolCall } from '../src/pool.ts'

const [EINTR, EAGAIN, EIO] = [-4, -11, -5]
let folder = ''
let fd = -1

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-pool-'))
  fd = fs.openSync(join(folder, 'file'), 'w')
})
afterAll(() => {
  fs.closeSync(fd)
  fs.rmSync(folder, { recursive: true })
})

/** fsync, whose answer is held back `times` times, and `errno` given instead. */
function fsync(errno: number, times: number, caller: Caller): { done: Promise<void>; made: () => number } {
  let made = 0
  const call = (done: (error: Failure) => void) =>
    fs.fsync(fd, error => done(made++ < times ? systemError(errno, 'fsync') : error))
  const done = new Promise<void>((resolve, reject) => {
    new PoolCall<void>(call, { path: 'file', changes: true }, caller, resolve, reject).begin(0)
  })
  return { done, made: () => made }
}

describe('a call of node:fs', () => {
  test.each([EINTR, EAGAIN])('that fails with %i for a moment is made again', async errno => {
    for (const priority of priorities) {
      const { done, made } = fsync(errno, 3, priority)
      await done
      expect(made()).toBe(4)
    }
  })

  test('that fails otherwise is not', async () => {
    const { done, made } = fsync(EIO, 1, 'background')
    await expect(done).rejects.toMatchObject({ code: 'EIO', syscall: 'fsync', path: 'file' })
    expect(made()).toBe(1)
  })

  test('that is aborted while it waits to be made again is not', async () => {
    const controller = new AbortController()
    const { done, made } = fsync(EAGAIN, 1000, { priority: 'background', signal: controller.signal })
    await sleep(10)
    const rejected = expect(done).rejects.toBe('enough')
    controller.abort('enough')
    await rejected
    const madeUntilNow = made()
    await sleep(20)
    expect(made()).toBe(madeUntilNow)
  })
})
