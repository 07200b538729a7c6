import assert from 'node:assert/strict'
import {
  closeSync,
  constants,
  Dirent,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  Stats,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Contract } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'

const fields = [
  'dev',
  'mode',
  'nlink',
  'uid',
  'gid',
  'rdev',
  'blksize',
  'ino',
  'size',
  'blocks',
  'atimeMs',
  'mtimeMs',
  'ctimeMs',
  'birthtimeMs',
  'atime',
  'mtime',
  'ctime',
  'birthtime',
] as const

function assertSameStats(given: Stats, expected: Stats, what: string): void {
  assert.ok(given instanceof Stats)
  for (const field of fields) assert.deepEqual(given[field], expected[field], `${what}: ${field}`)
  for (const kind of ['isFile', 'isDirectory', 'isSymbolicLink', 'isFIFO', 'isCharacterDevice'] as const) {
    assert.equal(given[kind](), expected[kind](), `${what}: ${kind}`)
  }
}

const kinds = ['isFile', 'isDirectory', 'isSymbolicLink', 'isFIFO', 'isSocket'] as const

function listed(entries: Dirent[]) {
  return entries
    .map(entry => ({
      name: entry.name,
      parentPath: entry.parentPath,
      kinds: kinds.filter(kind => entry[kind]()),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

export const opening: Contract[] = [
  {
    name: 'open takes a string, a relative path, a Buffer or a file: URL',
    async run(seek, test) {
      const path = file(test, 'ä file #1', 'content')
      const forms = [path, relative(process.cwd(), path), Buffer.from(path), pathToFileURL(path)]
      if (process.platform === 'linux') {
        // Names are bytes: this one is not UTF-8.
        const name = Buffer.concat([Buffer.from(join(test.folder, 'bytes ')), Buffer.of(0xff, 0xfe)])
        writeFileSync(name, 'content')
        forms.push(name)
      }
      for (const form of forms) {
        const opened = await seek.open(form, 'user-blocking')
        const buffer = Buffer.alloc(7)
        assert.equal(await opened.read(buffer, 0, 'user-blocking'), 7)
        assert.equal(String(buffer), 'content')
        assert.equal((await seek.stat(form, 'user-blocking')).size, 7)
        await opened.close()
      }
    },
  },
  {
    name: 'fd is the descriptor, until it is closed',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background')
      assert.equal(fstatSync(opened.fd).ino, statSync(path).ino)
      await opened.close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'flags mean what they mean in node:fs',
    async run(seek, test) {
      if (process.platform !== 'linux') return test.skip('only Linux tells the flags of a descriptor')
      const flagsOf = (fd: number) =>
        /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]
      const names = ['r', 'rs', 'sr', 'r+', 'rs+', 'sr+', 'w', 'w+', 'a', 'as', 'sa', 'a+', 'as+', 'sa+']
      const exclusive = ['wx', 'xw', 'wx+', 'xw+', 'ax', 'xa', 'ax+', 'xa+']
      const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NONBLOCK } = constants
      const numbers = [O_RDONLY, O_RDWR, O_RDONLY | O_NONBLOCK, O_RDWR | O_CREAT]
      const path = file(test, 'file', 'content')
      for (const [index, flags] of [
        ...names,
        ...numbers,
        ...exclusive,
        O_RDWR | O_CREAT | O_EXCL,
      ].entries()) {
        const isNew = index >= names.length + numbers.length
        const fd = openSync(isNew ? join(test.folder, `node ${index}`) : path, flags)
        const opened = await seek.open(isNew ? join(test.folder, `ours ${index}`) : path, 'background', {
          flags,
        })
        assert.equal(flagsOf(opened.fd), flagsOf(fd), `flags ${flags}`)
        closeSync(fd)
        await opened.close()
        if (!isNew) continue
        const again = seek.open(join(test.folder, `ours ${index}`), 'background', { flags })
        assert.equal((await rejection(again)).code, 'EEXIST', `flags ${flags}`)
      }
    },
  },
  {
    name: "flags 'w' make a file, empty it, and mode is the new one's",
    async run(seek, test) {
      const path = join(test.folder, 'new')
      await (await seek.open(path, 'background', { flags: 'w', mode: 0o600 })).close()
      assert.equal(readFileSync(path).length, 0)
      if (process.platform !== 'win32') assert.equal(statSync(path).mode & 0o777, 0o600)
      writeFileSync(path, 'content')
      await (await seek.open(path, 'background', { flags: 'r+' })).close()
      assert.equal(readFileSync(path, 'utf8'), 'content')
      await (await seek.open(path, 'background', { flags: 'w' })).close()
      assert.equal(readFileSync(path).length, 0)
      const usual = join(test.folder, 'usual')
      await (await seek.open(usual, 'background', { flags: 'w' })).close()
      writeFileSync(join(test.folder, 'node'), '')
      assert.equal(statSync(usual).mode, statSync(join(test.folder, 'node')).mode)
    },
  },
  {
    name: 'close is idempotent, and waits for what is under way',
    async run(seek, test) {
      const content = pattern(4 * MiB)
      const opened = await seek.open(file(test, 'file', content), 'background')
      const order: string[] = []
      const reads = Array.from({ length: 40 }, async (_, index) => {
        const buffer = Buffer.alloc(600 * KiB)
        const bytes = await opened.read(
          buffer,
          index * 1000,
          index % 2 === 0 ? 'background' : 'user-blocking',
        )
        order.push('read')
        assert.ok(
          bytes === buffer.length && buffer.equals(content.subarray(index * 1000, index * 1000 + bytes)),
        )
      })
      reads.push(opened.stat('background').then(({ size }) => assert.equal(size, content.length)))
      const closes = [opened.close(), opened.close(), opened[Symbol.asyncDispose]()].map(async close => {
        await close
        order.push('close')
      })
      await Promise.all([...reads, ...closes])
      assert.deepEqual(order, [...Array(40).fill('read'), 'close', 'close', 'close'])
      await opened.close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a file refuses new operations from the moment it is closed: EBADF',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background')
      const under = opened.read(Buffer.alloc(7), 0, 'background')
      const closing = opened.close()
      for (const settled of [false, true]) {
        if (settled) await closing
        for (const [call, syscall] of [
          [() => opened.read(Buffer.alloc(7), 0, 'background'), 'read'],
          [() => opened.read(Buffer.alloc(0), 0, 'background'), 'read'],
          [() => opened.stat('background'), 'fstat'],
          [() => opened.chunks('background').next(), 'read'],
        ] as const) {
          const error = await rejection(call())
          assert.deepEqual([error.code, error.syscall, error.path], ['EBADF', syscall, path])
        }
      }
      assert.equal(await under, 7)
    },
  },
  {
    name: 'stat gives what fs.stat gives, by path and of an open file',
    async run(seek, test) {
      const path = file(test, 'file', pattern(12_345))
      utimesSync(path, 1_234_567_890.125, 1_500_000_000.75)
      const folder = join(test.folder, 'folder')
      mkdirSync(folder)
      const paths = [path, folder]
      if (process.platform !== 'win32') {
        symlinkSync(path, join(test.folder, 'link'))
        paths.push(join(test.folder, 'link'), '/dev/null')
      }
      for (const path of paths) {
        assertSameStats(await seek.stat(path, 'background'), statSync(path), path)
        const opened = await seek.open(path, 'background')
        assertSameStats(await opened.stat('realtime'), fstatSync(opened.fd), path)
        await opened.close()
      }
    },
  },
  {
    name: 'readdir gives what fs.readdir gives, kinds included',
    async run(seek, test) {
      for (const name of ['a', 'ä', 'two words']) file(test, name, name)
      for (const name of ['folder', 'many', 'empty']) mkdirSync(join(test.folder, name))
      for (let index = 0; index < 200; index++) writeFileSync(join(test.folder, 'many', `${index}`), '')
      if (process.platform !== 'win32') {
        symlinkSync('a', join(test.folder, 'link'))
        symlinkSync('nowhere', join(test.folder, 'dangling'))
      }
      for (const name of ['.', 'many', 'empty']) {
        const path = join(test.folder, name)
        for (const form of [path, Buffer.from(path), pathToFileURL(path)]) {
          const entries = await seek.readdir(form, 'background')
          const expected = readdirSync(form, { withFileTypes: true })
          assert.ok(entries.every(entry => entry instanceof Dirent))
          assert.deepEqual(
            listed(entries).map(({ name, kinds }) => ({ name, kinds })),
            listed(expected).map(({ name, kinds }) => ({ name, kinds })),
          )
          if (form === path) assert.deepEqual(listed(entries), listed(expected))
        }
      }
    },
  },
  {
    name: 'a read does not hold back an open: nothing waits for what it does not need',
    async run(seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const opened = await seek.open(path, 'background')
      const reads = Array.from({ length: 100 }, () => opened.read(Buffer.alloc(MiB), 0, 'background'))
      let readsDone = 0
      for (const read of reads) void read.then(() => readsDone++)
      await (await seek.open(path, 'user-blocking')).close()
      assert.ok(readsDone < 100, 'an urgent open came after every background read')
      await Promise.all(reads)
      await turns(1)
      await opened.close()
      assert.ok(existsSync(path))
    },
  },
]
