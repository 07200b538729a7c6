import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Contract, Seek } from '../contract.ts'
import { assertAllClosed, file } from '../files.ts'
import { assertSameError, errorOf, rejection } from '../outcomes.ts'

type Path = string | Buffer | URL

/** Each function fails as its counterpart in node:fs does. */
async function assertFailsAsNode(seek: Seek, path: Path, flags: string, code: string): Promise<void> {
  for (const [ours, node] of [
    [() => seek.open(path, 'user-visible', { flags }), () => errorOf(done => fs.open(path, flags, done))],
    [() => seek.readAll(path, 'user-visible'), () => errorOf(done => fs.readFile(path, done))],
    [() => seek.stat(path, 'user-visible'), () => errorOf(done => fs.stat(path, done))],
    [
      () => seek.readdir(path, 'user-visible'),
      () => errorOf(done => fs.readdir(path, { withFileTypes: true }, done)),
    ],
  ] as const) {
    const error = await rejection(ours())
    assert.equal(error.code, code)
    assertSameError(error, await node())
  }
}

export const errors: Contract[] = [
  {
    name: 'an error names the functions that await it',
    async run(seek, test) {
      const missing = join(test.folder, 'missing')
      const path = file(test, 'file', 'content')
      await using written = await seek.open(path, 'user-visible', { flags: 'w' })
      await using read = await seek.open(path, 'user-visible')
      const calls = [
        () => seek.open(missing, 'user-visible'),
        () => seek.readAll(missing, 'user-visible'),
        () => seek.stat(missing, 'user-visible'),
        () => seek.readdir(missing, 'user-visible'),
        () => seek.writeAll(join(missing, 'file'), 'x', 'user-visible'),
        () => written.read(Buffer.alloc(1), 0, 'user-visible'),
        () => read.write(Buffer.alloc(1), 0, 'user-visible'),
      ]
      for (const call of calls) {
        async function loadsConfig() {
          return await call()
        }
        async function startsProgram() {
          return await loadsConfig()
        }
        const { stack, message } = await rejection(startsProgram())
        assert.match(stack!, /at (async )?loadsConfig .*\n.*at (async )?startsProgram /, String(call))
        assert.ok(stack!.startsWith(`Error: ${message}\n`), stack)
      }
    },
  },
  {
    name: 'ENOENT is as node:fs gives it, whatever the form of the path',
    async run(seek, test) {
      const path = join(test.folder, 'ä missing file')
      for (const form of [path, Buffer.from(path), pathToFileURL(path)]) {
        await assertFailsAsNode(seek, form, 'r', 'ENOENT')
        await assertFailsAsNode(seek, form, 'r+', 'ENOENT')
      }
      await assertFailsAsNode(seek, '', 'r', 'ENOENT')
    },
  },
  {
    name: 'ENOTDIR, ELOOP and ENAMETOOLONG are as node:fs gives them',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has other names for them')
      await assertFailsAsNode(seek, join(file(test, 'file', ''), 'below'), 'r', 'ENOTDIR')
      fs.symlinkSync('loop', join(test.folder, 'loop'))
      await assertFailsAsNode(seek, join(test.folder, 'loop'), 'r', 'ELOOP')
      await assertFailsAsNode(seek, join(test.folder, 'x'.repeat(300)), 'r', 'ENAMETOOLONG')
    },
  },
  {
    name: 'EEXIST, EISDIR, and ENOTDIR of a file that is no folder, are as node:fs gives them',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      for (const [ours, node, code] of [
        [
          () => seek.open(path, 'background', { flags: 'wx' }),
          () => errorOf(done => fs.open(path, 'wx', done)),
          'EEXIST',
        ],
        [
          () => seek.open(test.folder, 'background', { flags: 'r+' }),
          () => errorOf(done => fs.open(test.folder, 'r+', done)),
          'EISDIR',
        ],
        [() => seek.readdir(path, 'background'), () => errorOf(done => fs.readdir(path, done)), 'ENOTDIR'],
      ] as const) {
        // There node:fs opens a folder, and cannot write to it.
        if (process.platform === 'win32' && code === 'EISDIR') continue
        const error = await rejection(ours())
        assert.equal(error.code, code)
        assertSameError(error, await node())
      }
      assert.equal(fs.readFileSync(path, 'utf8'), 'content')
    },
  },
  {
    name: 'where node:fs knows only a descriptor, the error has the path as well',
    async run(seek, test) {
      const opened = await seek.open(test.folder, 'background')
      const node = await errorOf(done => fs.read(opened.fd, Buffer.alloc(16), 0, 16, 0, done))
      const expected: NodeJS.ErrnoException = Object.assign(
        new Error(`${node.message} '${test.folder}'`),
        node,
        {
          path: test.folder,
        },
      )
      assert.equal(expected.code, 'EISDIR')
      assertSameError(await rejection(opened.read(Buffer.alloc(16), 0, 'background')), expected)
      assertSameError(await rejection(opened.chunks('background').next()), expected)
      assertSameError(await rejection(seek.readAll(test.folder, 'background')), expected)
      await opened.close()

      const path = join(test.folder, 'write only')
      const writable = await seek.open(path, 'background', { flags: 'w' })
      const error = await rejection(writable.read(Buffer.alloc(16), 0, 'background'))
      assert.deepEqual([error.code, error.syscall, error.path], ['EBADF', 'read', path])
      assert.equal(error.message, `EBADF: bad file descriptor, read '${path}'`)
      await writable.close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a file goes on after an error',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background')
      await rejection(seek.open(join(test.folder, 'missing'), 'background'))
      await rejection(opened.read(Buffer.alloc(1), -1, 'background'))
      const buffer = Buffer.alloc(7)
      assert.equal(await opened.read(buffer, 0, 'background'), 7)
      assert.equal(String(buffer), 'content')
      await opened.close()
    },
  },
]
