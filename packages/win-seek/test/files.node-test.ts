import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import * as seek from '../src/seek.ts'
import { isWine, seekUrl, withFolder } from './folder.test-support.ts'

test('paths may be longer than 260 characters', () =>
  withFolder(async folder => {
    const deep = join(folder, ...Array.from({ length: 6 }, (_, index) => `${index}`.repeat(60)))
    fs.mkdirSync(deep, { recursive: true })
    const path = join(deep, 'file')
    await seek.writeAll(path, 'content', 'background')
    assert.equal(String(await seek.readAll(path, 'background')), 'content')
    assert.deepEqual(
      (await seek.readdir(deep, 'background')).map(({ name }) => name),
      ['file'],
    )
    assert.equal((await seek.stat(path, 'background')).size, 7)
  }))

test('names are UTF-16, forward slashes are backslashes, and a trailing dot is a name’s', () =>
  withFolder(async folder => {
    for (const name of ['größe', '日本語', '😀', 'a b', 'dot.', 'con.txt']) {
      await seek.writeAll(`${folder}/${name}`, name, 'user-visible')
      assert.equal(String(await seek.readAll(join(folder, name), 'user-visible')), name)
      assert.equal(fs.readFileSync(join(folder, name), 'utf8'), name)
    }
  }))

test('while it is open, others may read, write, rename and delete it, as with node:fs', () =>
  withFolder(async folder => {
    const path = join(folder, 'file')
    const file = await seek.open(path, 'background', { flags: 'w+' })
    await file.write(Buffer.from('content'), 0, 'background')
    assert.equal(fs.readFileSync(path, 'utf8'), 'content')
    fs.appendFileSync(path, ' and more')
    fs.renameSync(path, `${path} renamed`)
    const buffer = Buffer.alloc(20)
    assert.equal(await file.read(buffer, 0, 'background'), 16)
    assert.equal(String(buffer.subarray(0, 16)), 'content and more')
    fs.rmSync(`${path} renamed`)
    assert.equal(await file.read(buffer, 8, 'background'), 8)
    await file.close()
    assert.deepEqual(fs.readdirSync(folder), [])
  }))

test('fd is for node:fs: it reads, writes and has a place of its own, and closes with the file', () =>
  withFolder(async folder => {
    const path = join(folder, 'file')
    fs.writeFileSync(path, 'content')
    const file = await seek.open(path, 'background', { flags: 'r+' })
    const { fd } = file
    assert.equal(file.fd, fd)
    const buffer = Buffer.alloc(3)
    assert.equal(fs.readSync(fd, buffer), 3)
    assert.equal(fs.readSync(fd, buffer), 3)
    assert.equal(String(buffer), 'ten')
    fs.writeSync(fd, 'C', 0)
    const [bytes, again] = [Buffer.alloc(7), Buffer.alloc(7)]
    const reads = await Promise.all([file.read(bytes, 0, 'background'), fs.readSync(fd, again, 0, 7, 0)])
    assert.deepEqual([...reads, String(bytes), String(again)], [7, 7, 'Content', 'Content'])
    await file.close()
    assert.throws(() => fs.fstatSync(fd), { code: 'EBADF' })
    assert.throws(() => file.fd, { code: 'EBADF' })
  }))

test('unlike with node:fs, an append is one wherever its position says', () =>
  withFolder(async folder => {
    const path = join(folder, 'file')
    fs.writeFileSync(path, 'one ')
    const file = await seek.open(path, 'background', { flags: 'a' })
    await file.write(Buffer.from('two '), 0, 'background')
    await file.write(Buffer.from('three'), 1, 'background')
    await file.close()
    assert.equal(fs.readFileSync(path, 'utf8'), 'one two three')
  }))

test('a mode without the right to write makes a file read-only', () =>
  withFolder(async folder => {
    const path = join(folder, 'file')
    await (await seek.open(path, 'background', { flags: 'w', mode: 0o444 })).close()
    assert.equal(fs.statSync(path).mode & 0o222, 0)
    // Wine looks at the user's rights only, and root has all of them.
    if (!isWine)
      await assert.rejects(seek.writeAll(path, 'new', 'background'), { code: 'EPERM', syscall: 'open', path })
    fs.chmodSync(path, 0o666)
    assert.deepEqual(fs.readdirSync(folder), ['file'])
  }))

test('a file that another program has locked up is EBUSY', async context => {
  if (isWine) return context.skip('wine gives node:fs no way to lock a file')
  await withFolder(async folder => {
    const path = join(folder, 'file')
    // UV_FS_O_EXLOCK: it is shared with nobody.
    const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT | 0x1000_0000)
    await assert.rejects(seek.readAll(path, 'background'), { code: 'EBUSY', syscall: 'open', path })
    await assert.rejects(seek.writeAll(path, 'new', 'background'), { code: 'EBUSY' })
    fs.closeSync(fd)
    await seek.writeAll(path, 'new', 'background')
  })
})

test('a terminated worker leaves no file open, whatever it was about to do', () =>
  withFolder(async folder => {
    const names = Array.from({ length: 40 }, (_, index) => join(folder, `${index}`))
    for (const name of names) fs.writeFileSync(name, Buffer.alloc(300_000, name))
    for (let round = 0; round < 20; round++) {
      const worker = new Worker(
        `const { workerData: { seekUrl, names }, parentPort } = require('node:worker_threads')
        import(seekUrl).then(async seek => {
          parentPort.postMessage('begins')
          for (;;) {
            await Promise.all(names.map(async (name, index) => {
              const file = await seek.open(name, ['realtime', 'background'][index % 2], { flags: 'r+' })
              await file.read(Buffer.alloc(300_000), 0, 'background')
              await file.write(Buffer.alloc(1000), 1000, 'background')
              await file.close()
            }))
          }
        })`,
        { eval: true, workerData: { seekUrl, names } },
      )
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await new Promise(resolve => setTimeout(resolve, round * 2))
      await worker.terminate()
    }
  }))

test('nothing is left of ten thousand operations', () =>
  withFolder(async folder => {
    const path = join(folder, 'file')
    fs.writeFileSync(path, Buffer.alloc(100_000, 'x'))
    const round = async () => {
      const file = await seek.open(path, 'user-blocking')
      await Promise.all(
        Array.from({ length: 100 }, (_, index) => file.read(Buffer.alloc(4096), index, 'user-blocking')),
      )
      await file.close()
    }
    for (let warm = 0; warm < 20; warm++) await round()
    globalThis.gc!()
    const before = process.memoryUsage().rss
    for (let index = 0; index < 100; index++) await round()
    globalThis.gc!()
    const grownBytes = process.memoryUsage().rss - before
    assert.ok(grownBytes < 20 * 1024 * 1024, `${grownBytes} bytes`)
  }))
