import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Mapping, map } from '../src/mmap.ts'
import { held } from './mapped-files.test-support.ts'
import { afterAll, beforeAll, describe, expect, onUnix, skipIf, test } from './runner.test-support.ts'

const MiB = 1024 * 1024
const isWindows = process.platform === 'win32'
let folder = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-write-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

function file(name: string, lengthBytes: number): string {
  fs.writeFileSync(join(folder, name), Buffer.alloc(lengthBytes, 'x'))
  return join(folder, name)
}

function mapWritable(
  path: string,
  options: { offsetBytes?: number; lengthBytes?: number } = {},
): Promise<Mapping> {
  return map(path, 'user-blocking', { access: 'read-write', ...options })
}

describe('write', () => {
  test('is seen in the views and in the file, and stays where it belongs', async () => {
    const path = file('write', 10_000)
    await using mapping = await mapWritable(path, { offsetBytes: 4000, lengthBytes: 200 })
    const view = mapping.view()
    mapping.write(90, Buffer.from('hello'))
    expect(Buffer.from(view.subarray(89, 96)).toString()).toBe('xhellox')
    expect(fs.readFileSync(path).toString('latin1', 4089, 4096)).toBe('xhellox')
    view[0] = 65
    expect(fs.readFileSync(path)[4000]).toBe(65)
    mapping.write(200, Buffer.alloc(0))
    mapping.write(195, new Uint8Array([1, 2, 3, 4, 5]))
    expect(fs.statSync(path).size).toBe(10_000)
    expect(() => mapping.write(196, Buffer.from('hello'))).toThrow(
      expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
    )
    expect(() => mapping.write(0, 'hello' as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    )
  })

  test('and sync and resize need a read-write mapping', async () => {
    const path = file('read-only', 100)
    for (const access of ['read', 'copy-on-write'] as const) {
      await using mapping = await map(path, 'user-blocking', { access })
      const refused = { code: 'ERR_INVALID_STATE', message: expect.stringContaining("'read-write'") }
      expect(() => mapping.write(0, Buffer.from('x'))).toThrow(expect.objectContaining(refused))
      await expect(mapping.sync('background')).rejects.toMatchObject(refused)
      await expect(mapping.resize(10, 'background')).rejects.toMatchObject(refused)
    }
  })

  test('a file that may not be written is an error of map', async () => {
    const path = file('forbidden', 100)
    fs.chmodSync(path, 0o444)
    // Root may write it all the same; but nobody a program that is running.
    const name = isWindows || process.getuid?.() === 0 ? process.execPath : path
    await expect(mapWritable(name)).rejects.toMatchObject({
      code: expect.stringMatching(/^(EACCES|EBUSY|ETXTBSY)$/),
      path: name,
    })
    fs.chmodSync(path, 0o644)
  })
})

describe('sync', () => {
  test('resolves for what has been stored, large and small, and for nothing', async () => {
    const path = file('sync', 20 * MiB + 1)
    await using mapping = await mapWritable(path, { offsetBytes: 1 })
    await mapping.sync('background')
    mapping.view().fill(66)
    await Promise.all([mapping.sync('realtime'), mapping.sync('background')])
    const content = fs.readFileSync(path)
    expect(content[0]).toBe(120)
    expect(content.subarray(1).equals(Buffer.alloc(20 * MiB, 66))).toBe(true)
  })

  onUnix('nobody tells which pages are dirty').test('leaves no dirty page behind', async () => {
    const path = file('dirty', 8 * MiB)
    execFileSync('sync', [path])
    await using mapping = await mapWritable(path)
    mapping.view().fill(67)
    const dirtyKb = () => {
      const text = fs.readFileSync('/proc/self/smaps', 'latin1')
      const part = text.slice(text.indexOf(path))
      return Number(part.match(/Shared_Dirty: +(\d+)/)![1]) + Number(part.match(/Private_Dirty: +(\d+)/)![1])
    }
    expect(dirtyKb()).toBe(8192)
    await mapping.sync('user-visible')
    expect(dirtyKb()).toBe(0)
  })
})

describe('resize', () => {
  test('grows and shrinks the file and the mapping', async () => {
    const path = file('resize', 10_000)
    await using mapping = await mapWritable(path, { offsetBytes: 5000 })
    const before = mapping.view()
    await mapping.resize(100_000, 'user-visible')
    expect(mapping.byteLength).toBe(100_000)
    expect(fs.statSync(path).size).toBe(105_000)
    expect(before.length).toBe(0)
    const view = mapping.view()
    expect([view[4999], view[5000], view[99_999]]).toEqual([120, 0, 0])
    view[99_999] = 1
    expect(fs.readFileSync(path)[104_999]).toBe(1)
    await mapping.resize(1, 'background')
    expect(mapping.byteLength).toBe(1)
    expect(fs.statSync(path).size).toBe(5001)
    expect(view.length).toBe(0)
    expect(mapping.torn).toBe(false)
    expect(mapping.readSync(0, 1).toString()).toBe('x')
    await mapping.resize(1, 'background')
    await mapping.resize(0, 'background')
    expect(mapping.view().length).toBe(0)
    await mapping.sync('background')
    await mapping.resize(10, 'background')
    mapping.write(0, Buffer.from('0123456789'))
    await mapping.sync('background')
    expect(fs.readFileSync(path).toString('latin1', 4999)).toBe('x0123456789')
  })

  onUnix('nobody tells how much room a file has').test(
    'has room on the disk for what it grows by',
    async () => {
      const path = file('room', 0)
      await using mapping = await mapWritable(path)
      await mapping.resize(4 * MiB, 'background')
      const { blocks, size } = fs.statSync(path)
      expect(size).toBe(4 * MiB)
      if (spawnSync('fallocate', ['-l', '4096', join(folder, 'probe')]).status === 0) {
        expect(blocks * 512).toBeGreaterThanOrEqual(4 * MiB)
      }
    },
  )

  test('a pinned view lasts until it is no longer', async () => {
    const path = file('pinned', 10_000)
    await using mapping = await mapWritable(path)
    const view = mapping.view()
    const pin = mapping.pin()
    await mapping.resize(50_000, 'user-blocking')
    expect(view[9999]).toBe(120)
    view[0] = 1
    expect(mapping.view()[0]).toBe(1)
    pin[Symbol.dispose]()
    await new Promise(resolve => setTimeout(resolve, 5))
    expect(view.length).toBe(0)
    expect(mapping.view().length).toBe(50_000)
  })

  test('with reads under way, and a close at once', async () => {
    const path = file('busy', MiB)
    const mapping = await mapWritable(path)
    const view = mapping.view()
    const reads = Array.from({ length: 20 }, (_, i) =>
      mapping.read(0, MiB, i % 2 ? 'realtime' : 'background'),
    )
    const resized = mapping.resize(2 * MiB, 'user-blocking')
    await expect(mapping.resize(3 * MiB, 'user-blocking')).rejects.toMatchObject({
      code: 'ERR_INVALID_STATE',
    })
    const closed = mapping.close()
    for (const bytes of await Promise.all(reads)) expect(bytes.equals(Buffer.alloc(MiB, 'x'))).toBe(true)
    await Promise.all([resized, closed])
    expect(view.length).toBe(0)
    expect(() => mapping.view()).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^file closed/) }),
    )
    expect(held(folder).filter(one => one.includes(path))).toEqual([])
    expect(fs.statSync(path).size).toBe(2 * MiB)
  })

  skipIf(!isWindows, 'elsewhere a mapped file can be made shorter').test(
    'to less, while somebody looks at it: EBUSY, and it is as long as it was',
    async () => {
      const path = file('looked-at', 100_000)
      await using mapping = await mapWritable(path)
      const refused = { code: 'EBUSY', syscall: 'ftruncate', path }
      const view = mapping.view()
      const pin = mapping.pin()
      await expect(mapping.resize(10, 'background')).rejects.toMatchObject(refused)
      expect(view[99_999]).toBe(120)
      pin[Symbol.dispose]()
      const other = await map(path, 'user-blocking')
      await expect(mapping.resize(10, 'background')).rejects.toMatchObject(refused)
      await other.close()
      expect(view.length).toBe(0)
      expect(mapping.view()[99_999]).toBe(120)
      expect(fs.statSync(path).size).toBe(100_000)
      const earlier = mapping.pin()
      await mapping.resize(200_000, 'background')
      await expect(mapping.resize(10, 'background')).rejects.toMatchObject(refused)
      earlier[Symbol.dispose]()
      const aborted = new AbortController()
      const caller = { priority: 'user-blocking', signal: aborted.signal } as const
      const resizing = mapping.resize(20, caller)
      aborted.abort('enough')
      await expect(resizing).rejects.toBe('enough')
      expect(mapping.view()[99_999]).toBe(120)
      const resized = mapping.resize(10, 'background')
      await new Promise(setImmediate)
      const read = mapping.read(0, 1, 'realtime').catch(error => error.code)
      await resized
      expect(['EBUSY', 'x']).toContain(String(await read))
      expect(mapping.readSync(0, 10).toString()).toBe('xxxxxxxxxx')
      expect(fs.statSync(path).size).toBe(10)
    },
  )

  test('of a window in the middle of its file: refused, the rest would be lost', async () => {
    const path = file('middle', 10_000)
    await using mapping = await mapWritable(path, { lengthBytes: 100 })
    await expect(mapping.resize(50, 'background')).rejects.toMatchObject({ code: 'ERR_INVALID_STATE' })
    expect(fs.statSync(path).size).toBe(10_000)
    expect(mapping.byteLength).toBe(100)
  })

  test('two hundred times leaves neither maps nor fds', async () => {
    const path = file('often', 0)
    await using mapping = await mapWritable(path)
    const before = held(folder).length
    for (let i = 1; i <= 200; i++) {
      await mapping.resize(i * 1000, 'user-blocking')
      mapping.view()[i * 1000 - 1] = i
    }
    for (let waits = 0; waits < 100 && held(folder).length > before + 1; waits++) {
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    expect(held(folder).length).toBeLessThanOrEqual(before + 1)
    expect(fs.statSync(path).size).toBe(200_000)
    await mapping.close()
    expect(held(folder)).toEqual([])
  })
})

/** File systems of 2 MiB, which only root can make: how each is mounted. */
function mount(kind: string): string | undefined {
  const at = fs.mkdtempSync(join(folder, `${kind}-`))
  if (kind === 'tmpfs') {
    return spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'kiruna', at]).status === 0 ? at : undefined
  }
  const image = `${at}.image`
  fs.writeFileSync(image, '')
  fs.truncateSync(image, 4 * MiB)
  if (spawnSync('mkfs.ext4', ['-q', '-F', '-m', '0', image]).status !== 0) return undefined
  return spawnSync('mount', ['-o', 'loop', image, at]).status === 0 ? at : undefined
}

onUnix('no disk can be mounted').describe.each(['tmpfs', 'ext4'])('a full disk (%s)', kind => {
  let disk: string | undefined
  beforeAll(() => {
    disk = mount(kind)
    if (disk === undefined) console.warn(`skipped: a full ${kind}: it cannot be mounted here`)
  })
  afterAll(() => {
    if (disk !== undefined) execFileSync('umount', [disk])
  })

  /** A file of 8 MiB without a block. */
  function sparse(name: string): string {
    const path = join(disk!, name)
    fs.writeFileSync(path, '')
    fs.truncateSync(path, 8 * MiB)
    return path
  }

  test('is an error of write', async context => {
    if (disk === undefined) return context.skip()
    const path = sparse('write')
    await using mapping = await mapWritable(path)
    const write = () => {
      for (let at = 0; at < 8 * MiB; at += MiB) mapping.write(at, Buffer.alloc(MiB, 1))
    }
    expect(write).toThrow(expect.objectContaining({ code: 'ENOSPC', syscall: 'write', path }))
    expect(mapping.readSync(0, 4096).equals(Buffer.alloc(4096, 1))).toBe(true)
    fs.rmSync(path)
  })

  test('is an error of resize, after which all is as it was', async context => {
    if (disk === undefined) return context.skip()
    const path = join(disk, 'resize')
    fs.writeFileSync(path, 'content')
    await using mapping = await mapWritable(path)
    await expect(mapping.resize(8 * MiB, 'background')).rejects.toMatchObject({ code: 'ENOSPC', path })
    expect(fs.statSync(path).size).toBe(7)
    expect(mapping.byteLength).toBe(7)
    expect(mapping.readSync(0, 7).toString()).toBe('content')
    fs.rmSync(path)
  })

  test('does not kill who stores into a view: sync tells of it', async context => {
    if (disk === undefined) return context.skip()
    const path = sparse('store')
    await using mapping = await mapWritable(path)
    const view = mapping.view()
    for (let at = 0; at < view.length; at += 4096) view[at] = 1
    expect(mapping.torn).toBe(true)
    await expect(mapping.sync('background')).rejects.toMatchObject({ code: 'ENOSPC', path })
    fs.rmSync(path)
  })
})
