import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as stream from '@kiruna/darwin-stream'
import { priorities } from '@kiruna/priority'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as seek from '../src/seek.ts'

/** By test:dispatch, where this is not macOS. */
const isBuilt = fs.existsSync(new URL('../../darwin-dispatch/build/Release/dispatch.node', import.meta.url))
const KiB = 1024
const MiB = 1024 * KiB
const gc = (globalThis as { gc?: () => void }).gc!
let folder = ''
let path = ''
let content: Buffer

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-dispatch-'))
  path = join(folder, 'file')
  content = Buffer.alloc(4 * MiB)
  for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(at, at)
  fs.writeFileSync(path, content)
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

const count = () => fs.readdirSync('/dev/fd').length

/** Until GCD has let go of them. */
async function closed(before: number): Promise<number> {
  for (let waits = 0; waits < 200 && count() > before; waits++) await sleep(10)
  return count()
}

describe('a channel', () => {
  test('that fails ends nobody else’s: EBADF is told before GCD has it', async () => {
    await using file = await seek.open(path, 'user-blocking')
    await using writable = await seek.open(join(folder, 'writable'), 'user-blocking', { flags: 'w' })
    for (let round = 0; round < 20; round++) {
      const buffers = Array.from({ length: 12 }, (_, i) => Buffer.alloc(i % 2 ? 300 * KiB : 3 * MiB))
      const outcomes = buffers.map((buffer, i) => file.read(buffer, i * 10_000, priorities[i % 4]!))
      const refused = [
        writable.read(Buffer.alloc(10), 0, 'realtime'),
        file.write(Buffer.alloc(10), 0, 'realtime'),
      ]
      for (const one of refused) await expect(one).rejects.toMatchObject({ code: 'EBADF' })
      for (const [i, bytes] of (await Promise.all(outcomes)).entries()) {
        expect(bytes).toBe(buffers[i]!.length)
        expect(buffers[i]!.equals(content.subarray(i * 10_000, i * 10_000 + bytes))).toBe(true)
      }
    }
  })

  test('reads no more from the disk than it is asked for', async context => {
    const cold = join(folder, 'cold')
    fs.writeFileSync(cold, Buffer.alloc(64 * MiB, 1))
    const drop = 'import os, sys; fd = os.open(sys.argv[1], 0); os.fsync(fd); os.posix_fadvise(fd, 0, 0, 4)'
    const readBytes = () =>
      Number(/^read_bytes: (\d+)/m.exec(fs.readFileSync('/proc/self/io', 'latin1'))?.[1] ?? 0)
    if (!fs.existsSync('/proc/self/io') || spawnSync('python3', ['-c', drop, cold]).status !== 0)
      return context.skip('only Linux tells')
    await using file = await seek.open(cold, 'realtime')
    const before = readBytes()
    for (let i = 0; i < 20; i++) await file.read(Buffer.alloc(4096), i * 3 * MiB, 'realtime')
    await sleep(100)
    const read = readBytes() - before
    if (read === 0) return context.skip('the file is in memory all the same')
    expect(read).toBeLessThan(4 * MiB)
  })

  test('counts a position from the beginning of the file, wherever the descriptor stands', async () => {
    await using file = await seek.open(path, 'user-blocking', { flags: 'r+' })
    fs.readSync(file.fd, Buffer.alloc(12_345))
    const buffer = Buffer.alloc(1000)
    expect(await file.read(buffer, 100, 'realtime')).toBe(1000)
    expect(buffer.equals(content.subarray(100, 1100))).toBe(true)
    await file.write(content.subarray(5000, 5010), 5000, 'realtime')
    expect(fs.readFileSync(path).equals(content)).toBe(true)
  })

  test('of a folder there is none: EISDIR, and it closes', async () => {
    const before = count()
    for (let round = 0; round < 50; round++) {
      const opened = await seek.open(folder, 'background')
      await expect(opened.read(Buffer.alloc(10), 0, 'background')).rejects.toMatchObject({ code: 'EISDIR' })
      await opened.close()
    }
    expect(await closed(before)).toBeLessThanOrEqual(before)
  })

  test('writes into memory that nothing else refers to, and into no other', async () => {
    await using file = await seek.open(path, 'user-blocking')
    const reads = () =>
      Array.from({ length: 30 }, (_, i) =>
        file.read(new Uint8Array(new ArrayBuffer(100 * KiB)), i * 1000, priorities[i % 4]!),
      )
    for (let round = 0; round < 30; round++) {
      const pending = reads()
      gc()
      const others = Array.from({ length: 30 }, () => Buffer.alloc(100 * KiB, 0xaa))
      for (const bytes of await Promise.all(pending)) expect(bytes).toBe(100 * KiB)
      for (const other of others) expect(other.every(byte => byte === 0xaa)).toBe(true)
    }
  })

  test('leaves nothing behind, neither memory nor descriptors', async () => {
    const out = join(folder, 'out')
    const round = async () => {
      await using file = await seek.open(out, 'user-visible', { flags: 'w+' })
      await file.write(content.subarray(0, MiB), 0, 'user-visible')
      await file.read(Buffer.alloc(MiB), 0, 'background')
      await Promise.all([seek.readAll(path, 'background'), stream.all(path, 'user-visible')])
      await seek.readdir(folder, 'background')
      await seek.stat(join(folder, 'missing'), 'background').catch(() => {})
    }
    for (let rounds = 0; rounds < 10; rounds++) await round()
    gc()
    const before = count()
    const rssBefore = process.memoryUsage.rss()
    for (let rounds = 0; rounds < 60; rounds++) await round()
    gc()
    expect(await closed(before)).toBeLessThanOrEqual(before)
    expect(process.memoryUsage.rss() - rssBefore).toBeLessThan(100 * MiB)
  })

  test('with others of one file under way, an abort ends its own only', async () => {
    await using file = await seek.open(path, 'user-blocking')
    for (let round = 0; round < 30; round++) {
      const controller = new AbortController()
      const caller = { priority: 'realtime', signal: controller.signal } as const
      const buffers = Array.from({ length: 10 }, () => Buffer.alloc(MiB))
      const kept = buffers.map((buffer, i) => file.read(buffer, i * 1000, 'realtime'))
      const aborted = Array.from({ length: 10 }, () => file.read(Buffer.alloc(4 * MiB), 0, caller))
      if (round % 3) await sleep(round % 3)
      controller.abort('enough')
      for (const one of await Promise.allSettled(aborted)) {
        if (one.status === 'rejected') expect(one.reason).toBe('enough')
        else expect(one.value).toBe(4 * MiB)
      }
      for (const [i, bytes] of (await Promise.all(kept)).entries()) {
        expect(bytes).toBe(MiB)
        expect(buffers[i]!.equals(content.subarray(i * 1000, i * 1000 + MiB))).toBe(true)
      }
    }
  })
})

test('on another system it cannot be had, and says why', () => {
  const program = `
    const seek = await import(${JSON.stringify(new URL('../dist/seek.js', import.meta.url).href)})
    await seek.stat('.', 'background').catch(error => console.log(error.code, error.message))`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  })
  const reason = `@kiruna/darwin-dispatch has no addon for ${process.platform} on ${process.arch}`
  expect(stdout).toBe(isBuilt ? '' : `ERR_KIRUNA_UNAVAILABLE ${reason}\n`)
})
