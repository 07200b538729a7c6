import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Access, map } from '../src/mmap.ts'
import { held } from './mapped-files.test-support.ts'
import { afterAll, beforeAll, describe, expect, test } from './runner.test-support.ts'

const MiB = 1024 * 1024
const GiB = 1024 * MiB
let folder = ''
let path = ''
/** Byte i of the file is i * 31 + (i >> 8): no two pages are the same. */
const content = Buffer.from(Uint8Array.from({ length: MiB + 5 }, (_, i) => i * 31 + (i >> 8)))

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-mmap-'))
  path = join(folder, 'file')
  fs.writeFileSync(path, content)
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

function file(name: string, bytes: string | Uint8Array): string {
  fs.writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

describe.each<Access>(['read', 'copy-on-write', 'read-write'])('a mapping with access %s', access => {
  test('is the file', async () => {
    await using mapping = await map(path, 'user-blocking', { access })
    expect(mapping.byteLength).toBe(content.length)
    expect(content.equals(mapping.view())).toBe(true)
    expect(content.equals(mapping.readSync(0, content.length))).toBe(true)
    expect(content.equals(await mapping.read(0, content.length, 'background'))).toBe(true)
    expect(mapping.torn).toBe(false)
  })

  test('begins and ends anywhere', async () => {
    for (const [offsetBytes, lengthBytes] of [
      [1, 1],
      [4095, 2],
      [4096, 4096],
      [5000, 100_000],
      [MiB + 4, 1],
      [MiB + 5, 0],
    ] as const) {
      await using mapping = await map(path, 'background', { offsetBytes, lengthBytes, access })
      const expected = content.subarray(offsetBytes, offsetBytes + lengthBytes)
      expect(mapping.byteLength).toBe(lengthBytes)
      expect(expected.equals(mapping.view())).toBe(true)
      expect(expected.equals(mapping.readSync(0, lengthBytes))).toBe(true)
      expect(expected.equals(await mapping.read(0, lengthBytes, 'realtime'))).toBe(true)
      const part = lengthBytes >> 1
      const rest = expected.subarray(part)
      expect(rest.equals(mapping.view(part))).toBe(true)
      expect(rest.equals(mapping.readSync(part, rest.length))).toBe(true)
      expect(rest.equals(await mapping.read(part, rest.length, 'background'))).toBe(true)
    }
  })

  test('an empty file gives an empty mapping', async () => {
    await using mapping = await map(file('empty', ''), 'user-visible', { access })
    expect(mapping.byteLength).toBe(0)
    expect(mapping.view().length).toBe(0)
    expect(mapping.readSync(0, 0).length).toBe(0)
    expect((await mapping.read(0, 0, 'background')).length).toBe(0)
    await mapping.prefault(0, 0, 'background')
    expect(mapping.torn).toBe(false)
    expect(await Array.fromAsync(mapping.chunks('background'))).toEqual([])
  })
})

test('stores into a view of a read mapping do not reach the file, and do not end the process', async () => {
  const name = file('stores', Buffer.alloc(10_000, 'x'))
  await using mapping = await map(name, 'user-blocking')
  mapping.view()[5000] = 1
  expect(mapping.view()[5000]).toBe(1)
  expect(fs.readFileSync(name)[5000]).toBe(120)
})

test('copy-on-write: reading gives what was stored, the file stays as it is', async () => {
  const name = file('cow', Buffer.alloc(10_000, 'x'))
  await using mapping = await map(name, 'user-blocking', { access: 'copy-on-write' })
  mapping.view()[5000] = 1
  expect(mapping.readSync(4999, 3)).toEqual(Buffer.from([120, 1, 120]))
  expect(await mapping.read(4999, 3, 'background')).toEqual(Buffer.from([120, 1, 120]))
  expect(fs.readFileSync(name)[5000]).toBe(120)
})

test('what others write is seen', async () => {
  const name = file('others', Buffer.alloc(5000, 'x'))
  await using mapping = await map(name, 'user-blocking')
  const view = mapping.view()
  expect(view[4500]).toBe(120)
  const fd = fs.openSync(name, 'r+')
  fs.writeSync(fd, 'abc', 4500)
  fs.closeSync(fd)
  expect(Buffer.from(view.subarray(4500, 4503)).toString()).toBe('abc')
  expect(mapping.readSync(4500, 3).toString()).toBe('abc')
})

test('windows of a file beyond 4 GiB', async () => {
  const name = join(folder, 'sparse')
  const fd = fs.openSync(name, 'w')
  if (process.platform === 'win32') spawnSync('fsutil', ['sparse', 'setflag', name], { stdio: 'ignore' })
  fs.ftruncateSync(fd, 6 * GiB)
  fs.writeSync(fd, 'at the end', 6 * GiB - 10)
  fs.writeSync(fd, 'in the middle', 5 * GiB + 3)
  fs.closeSync(fd)
  await using window = await map(name, 'user-blocking', { offsetBytes: 5 * GiB + 3, lengthBytes: 100 })
  expect(Buffer.from(window.view(0, 13)).toString()).toBe('in the middle')
  await using whole = await map(name, 'user-blocking')
  expect(whole.byteLength).toBe(6 * GiB)
  expect(Buffer.from(whole.view(6 * GiB - 10)).toString()).toBe('at the end')
  expect(whole.readSync(5 * GiB + 3, 13).toString()).toBe('in the middle')
  expect((await whole.read(6 * GiB - 10, 10, 'background')).toString()).toBe('at the end')
  await whole.prefault(6 * GiB - 10, 10, 'background')
})

test('a view of any place and length has the right bytes, whichever window it is cut from', async () => {
  const name = join(folder, 'long')
  const fd = fs.openSync(name, 'w')
  const lengthBytes = 100 * MiB + 7
  fs.ftruncateSync(fd, lengthBytes)
  const marks = [0, 16 * MiB - 1, 16 * MiB, 32 * MiB - 1, 32 * MiB, 64 * MiB + 1, lengthBytes - 1]
  for (const mark of marks) fs.writeSync(fd, Buffer.from([1 + marks.indexOf(mark)]), 0, 1, mark)
  fs.closeSync(fd)
  for (const offsetBytes of [0, 1, 4097]) {
    await using mapping = await map(name, 'user-blocking', { offsetBytes })
    for (const [index, mark] of marks.entries()) {
      if (mark < offsetBytes) continue
      const at = mark - offsetBytes
      for (const before of [0, 1, 100, 16 * MiB - 1, 16 * MiB, 31 * MiB, 40 * MiB]) {
        if (before > at) continue
        const view = mapping.view(at - before, before + 1)
        expect(view.length).toBe(before + 1)
        expect(view[before]).toBe(index + 1)
      }
    }
    expect(mapping.view().length).toBe(lengthBytes - offsetBytes)
    expect(mapping.view(at(mapping.byteLength))[0]).toBe(marks.length)
  }
  function at(byteLength: number) {
    return byteLength - 1
  }
})

test('readSync copies into the memory that it is given', async () => {
  await using mapping = await map(path, 'user-blocking')
  const into = Buffer.alloc(100)
  expect(mapping.readSync(10, 100, into)).toBe(into)
  expect(into.equals(content.subarray(10, 110))).toBe(true)
  const array = new Uint8Array(200)
  const bytes = mapping.readSync(1000, 50, array.subarray(20))
  expect(bytes.equals(content.subarray(1000, 1050))).toBe(true)
  expect(bytes.buffer).toBe(array.buffer)
  expect(bytes.byteOffset).toBe(20)
  expect(() => mapping.readSync(0, 101, into)).toThrow(
    expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', name: 'RangeError' }),
  )
  expect(() => mapping.readSync(0, 1, 'x' as never)).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
  )
})

test('a URL and a Buffer name a file too', async () => {
  for (const name of [pathToFileURL(path), Buffer.from(path)]) {
    await using mapping = await map(name, 'user-blocking')
    expect(mapping.readSync(1, 1)[0]).toBe(content[1])
  }
})

describe('bad arguments reject, or throw where no promise is returned', () => {
  test.each([
    ['a path', [7, 'background'], 'ERR_INVALID_ARG_TYPE'],
    ['a zero byte', ['a\0b', 'background'], 'ERR_INVALID_ARG_VALUE'],
    ['a caller', ['/', 'urgent'], 'ERR_INVALID_ARG_VALUE'],
    ['an access', ['/', 'background', { access: 'write' }], 'ERR_INVALID_ARG_VALUE'],
    ['an offset', ['/', 'background', { offsetBytes: -1 }], 'ERR_OUT_OF_RANGE'],
    ['a length', ['/', 'background', { lengthBytes: 0.5 }], 'ERR_OUT_OF_RANGE'],
  ])('map: %s', async (_, args, code) => {
    await expect(map(...(args as Parameters<typeof map>))).rejects.toMatchObject({ code })
  })

  test('a place outside of the mapping', async () => {
    await using mapping = await map(path, 'background', { lengthBytes: 100 })
    const outside = { code: 'ERR_OUT_OF_RANGE' }
    for (const [offset, length] of [
      [101, 0],
      [50, 51],
      [-1, 1],
      [0.5, 1],
      [0, -1],
    ] as const) {
      expect(() => mapping.view(offset, length)).toThrow(expect.objectContaining(outside))
      expect(() => mapping.readSync(offset, length)).toThrow(expect.objectContaining(outside))
      await expect(mapping.read(offset, length, 'background')).rejects.toMatchObject(outside)
      await expect(mapping.prefault(offset, length, 'background')).rejects.toMatchObject(outside)
      expect(() => mapping.chunks('background', { offsetBytes: offset, lengthBytes: length })).toThrow(
        expect.objectContaining(outside),
      )
    }
    expect(() => mapping.chunks('background', { chunkBytes: 10, overlapBytes: 10 })).toThrow(
      expect.objectContaining(outside),
    )
    expect(() => mapping.chunks('urgent' as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
    )
  })
})

describe('close', () => {
  test('leaves views of length 0, and nothing mapped or open', async () => {
    const before = held(folder)
    const mapping = await map(path, 'user-blocking', { offsetBytes: 5 })
    const [view, other] = [mapping.view(), mapping.view(100, 50)]
    expect(held(folder).length).toBe(before.length + (process.platform === 'win32' ? 1 : 2))
    await mapping.close()
    expect(view.length).toBe(0)
    expect(other.length).toBe(0)
    expect(view.buffer.byteLength).toBe(0)
    expect(mapping.byteLength).toBe(0)
    expect(mapping.torn).toBe(false)
    expect(held(folder)).toEqual(before)
  })

  test('is idempotent, and refuses what comes after', async () => {
    const mapping = await map(path, 'user-blocking', { access: 'read-write' })
    await Promise.all([mapping.close(), mapping.close()])
    await mapping.close()
    const closed = { code: 'EBADF', message: expect.stringMatching(/^file closed/) }
    expect(() => mapping.view()).toThrow(expect.objectContaining(closed))
    expect(() => mapping.readSync(0, 1)).toThrow(expect.objectContaining(closed))
    expect(() => mapping.write(0, Buffer.from('x'))).toThrow(expect.objectContaining(closed))
    expect(() => mapping.pin()).toThrow(expect.objectContaining(closed))
    expect(() => mapping.chunks('background')).toThrow(expect.objectContaining(closed))
    await expect(mapping.read(0, 1, 'background')).rejects.toMatchObject(closed)
    await expect(mapping.prefault(0, 1, 'background')).rejects.toMatchObject(closed)
    await expect(mapping.sync('background')).rejects.toMatchObject(closed)
    await expect(mapping.resize(1, 'background')).rejects.toMatchObject(closed)
  })

  test('waits for reads under way', async () => {
    const mapping = await map(path, 'user-blocking')
    const read = mapping.read(0, MiB, 'background')
    await mapping.close()
    expect(content.subarray(0, MiB).equals(await read)).toBe(true)
  })

  test('waits for pins, each of which counts once', async () => {
    const mapping = await map(path, 'user-blocking')
    const view = mapping.view()
    const [first, second] = [mapping.pin(), mapping.pin()]
    let isClosed = false
    const closing = mapping.close().then(() => (isClosed = true))
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    await new Promise(resolve => setTimeout(resolve, 30))
    expect(isClosed).toBe(false)
    expect(view[1]).toBe(content[1])
    second[Symbol.dispose]()
    await closing
    expect(view.length).toBe(0)
  })

  test('finds windows that were transferred away as they are', async () => {
    const mapping = await map(path, 'user-blocking')
    const view = mapping.view()
    expect(structuredClone(view)[1]).toBe(content[1])
    const moved = (view.buffer as ArrayBuffer & { transfer?(): ArrayBuffer }).transfer?.()
    await mapping.close()
    // Zeros, or the file's bytes copied: whatever `transfer` does, it is memory that can be read.
    if (moved !== undefined) expect([0, content[1]]).toContain(new Uint8Array(moved)[1])
  })
})
