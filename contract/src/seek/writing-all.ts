import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { priorities } from '@kiruna/priority'
import type { Contract } from '../contract.ts'
import { assertAllClosed, file, isWine, KiB, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'

const ways = [
  {},
  { atomic: true, durable: false },
  { atomic: false },
  { atomic: false, durable: false },
] as const

async function* inChunks(content: Buffer, chunkBytes: number) {
  for (let at = 0; at < content.length; at += chunkBytes) {
    yield content.subarray(at, at + chunkBytes)
    yield Buffer.alloc(0)
  }
}

export const writingAll: Contract[] = [
  {
    name: 'writeAll makes the file, or replaces its content, and leaves nothing else in the folder',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      for (const options of ways) {
        for (const [index, sizeBytes] of [100, 0, 3 * MiB, 1, 256 * KiB].entries()) {
          const content = pattern(sizeBytes, index)
          assert.equal(await seek.writeAll(path, content, priorities[index % 4]!, options), undefined)
          assert.ok(readFileSync(path).equals(content), `${sizeBytes} bytes`)
          assert.deepEqual(readdirSync(test.folder), ['file'])
        }
        unlinkSync(path)
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'writeAll takes a string, a Uint8Array or an AsyncIterable',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const content = pattern(600 * KiB)
      for (const options of ways) {
        await seek.writeAll(path, 'Grüße, 世界 🌍', 'background', options)
        assert.equal(readFileSync(path, 'utf8'), 'Grüße, 世界 🌍')
        await seek.writeAll(path, new Uint8Array([1, 2, 3]), 'background', options)
        assert.deepEqual([...readFileSync(path)], [1, 2, 3])
        await seek.writeAll(path, new Uint8Array(new SharedArrayBuffer(3)), 'background', options)
        assert.deepEqual([...readFileSync(path)], [0, 0, 0])
        await seek.writeAll(path, inChunks(content, 77_777), 'background', options)
        assert.ok(readFileSync(path).equals(content))
        await seek.writeAll(path, inChunks(content, content.length), 'realtime', options)
        assert.ok(readFileSync(path).equals(content))
        await seek.writeAll(path, inChunks(Buffer.alloc(0), 1), 'background', options)
        assert.equal(readFileSync(path).length, 0)
      }
    },
  },
  {
    name: 'writeAll takes any form of path, and a change of the working directory makes no difference',
    async run(seek, test) {
      const path = join(test.folder, 'ä file #1')
      const forms = [path, relative(process.cwd(), path), Buffer.from(path), pathToFileURL(path)]
      for (const [index, form] of forms.entries()) {
        await seek.writeAll(form, `${index}`, 'background')
        assert.equal(readFileSync(path, 'utf8'), `${index}`)
      }
      if (process.platform === 'linux') {
        const name = Buffer.concat([Buffer.from(join(test.folder, 'bytes ')), Buffer.of(0xff, 0xfe)])
        await seek.writeAll(name, 'not UTF-8', 'background')
        assert.equal(readFileSync(name, 'utf8'), 'not UTF-8')
        await seek.writeAll(join(test.folder, 'x'.repeat(255)), 'the longest name', 'background')
      }
      const before = process.cwd()
      mkdirSync(join(test.folder, 'elsewhere'))
      process.chdir(test.folder)
      const writing = seek.writeAll('relative', 'content', 'background')
      process.chdir('elsewhere')
      await writing.finally(() => process.chdir(before))
      assert.equal(readFileSync(join(test.folder, 'relative'), 'utf8'), 'content')
    },
  },
  {
    name: 'a reader sees the old file or the new, whole, and who has it open keeps the old one',
    async run(seek, test) {
      if (isWine) return test.skip('wine replaces no file that is open')
      const contents = [pattern(MiB, 1), pattern(MiB, 2)]
      const path = file(test, 'file', contents[1]!)
      const fd = openSync(path, 'r')
      let isDone = false
      let reads = 0
      const writing = (async () => {
        for (let round = 0; round < 20; round++) {
          await seek.writeAll(path, contents[round % 2]!, priorities[round % 4]!, {
            durable: round % 5 === 0,
          })
        }
        isDone = true
      })()
      while (!isDone) {
        const content = readFileSync(path)
        assert.ok(contents.some(one => one.equals(content)))
        reads++
        await turns(1)
      }
      await writing
      assert.ok(reads > 20)
      const old = Buffer.alloc(MiB)
      readSync(fd, old, 0, MiB, 0)
      assert.ok(old.equals(contents[1]!))
      closeSync(fd)
    },
  },
  {
    name: 'two writeAlls at once to one path: one of them wins, whole',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      for (let round = 0; round < 20; round++) {
        const contents = [pattern(300 * KiB, round), pattern(400 * KiB, round + 1), Buffer.from('short')]
        await Promise.all(contents.map((content, index) => seek.writeAll(path, content, priorities[index]!)))
        const content = readFileSync(path)
        assert.ok(contents.some(one => one.equals(content)))
        assert.deepEqual(readdirSync(test.folder), ['file'])
      }
    },
  },
  {
    name: 'a thousand writeAlls at once have few files open at a time below user-blocking',
    async run(seek, test) {
      let most = 0
      let isDone = false
      const names = Array.from({ length: 1000 }, (_, index) => `${index}`)
      const all = Promise.all(
        names.map(name => seek.writeAll(join(test.folder, name), name, 'background', { durable: false })),
      ).finally(() => (isDone = true))
      while (!isDone) {
        most = Math.max(most, readdirSync(test.folder).filter(name => name.startsWith('.kiruna-')).length)
        await turns(1)
      }
      await all
      assert.ok(most < 200, `${most} temporary files at once`)
      for (const name of names) assert.equal(readFileSync(join(test.folder, name), 'utf8'), name)
      assert.equal(readdirSync(test.folder).length, 1000)
    },
  },
  {
    name: 'the mode is kept, and that of a new file is `mode` less the umask, as in node:fs',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no modes')
      const path = join(test.folder, 'file')
      for (const options of ways) {
        for (const mode of [0o600, 0o644, 0o666, 0o777, 0o640, 0o4755, 0o2751, 0o1777]) {
          writeFileSync(path, 'old')
          chmodSync(path, mode)
          await seek.writeAll(path, 'new', 'background', options)
          // What a write takes away from a file that is not the superuser's, it takes away here as well.
          if (process.getuid?.() === 0 || mode < 0o1000) {
            assert.equal(statSync(path).mode & 0o7777, mode, mode.toString(8))
          }
          unlinkSync(path)
        }
        for (const mode of [undefined, 0o600, 0o777, 0o444]) {
          const expected = join(test.folder, 'node')
          writeFileSync(expected, '', mode === undefined ? {} : { mode })
          await seek.writeAll(path, 'new', 'background', mode === undefined ? options : { ...options, mode })
          assert.equal(statSync(path).mode, statSync(expected).mode)
          // It is a new file's: the next one changes nothing.
          await seek.writeAll(path, 'newer', 'background', { ...options, mode: 0o700 }).catch(error => {
            assert.equal(error.code, 'EACCES')
          })
          assert.equal(statSync(path).mode, statSync(expected).mode)
          unlinkSync(path)
          unlinkSync(expected)
        }
      }
    },
  },
  {
    name: 'symbolic links are followed, dangling ones too, and stay',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows makes links for some users only')
      mkdirSync(join(test.folder, 'real/deep'), { recursive: true })
      symlinkSync('real/deep', join(test.folder, 'folder'))
      const links: [name: string, text: string, target: string][] = [
        ['relative', 'real/file', 'real/file'],
        ['absolute', join(test.folder, 'real/file'), 'real/file'],
        ['chain', 'relative', 'real/file'],
        // `..` is of the folder that the link leads to, not of the one that the text names.
        ['folder/up', '../beside', 'real/beside'],
        ['through', 'folder/../../real/other', 'real/other'],
      ]
      for (const [name, text] of links) symlinkSync(text, join(test.folder, name))
      for (const options of ways) {
        for (const [name, text, target] of links) {
          const path = join(test.folder, target)
          for (const content of ['made', 'replaced']) {
            await seek.writeAll(join(test.folder, name), content, 'background', options)
            assert.equal(readFileSync(path, 'utf8'), content, `${name} → ${text}`)
            assert.ok(lstatSync(join(test.folder, name)).isSymbolicLink())
            assert.ok(lstatSync(path).isFile())
          }
          unlinkSync(path)
        }
        assert.deepEqual(readdirSync(join(test.folder, 'real')), ['deep'])
        assert.deepEqual(readdirSync(test.folder), [
          'absolute',
          'chain',
          'folder',
          'real',
          'relative',
          'through',
        ])
      }
      symlinkSync('loop', join(test.folder, 'loop'))
      assert.equal(
        (await rejection(seek.writeAll(join(test.folder, 'loop'), '', 'background'))).code,
        'ELOOP',
      )
      await assertAllClosed(test.folder)
    },
  },
  {
    name: "other names of a file keep the old content, and with atomic: false they are the file's too",
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      linkSync(path, join(test.folder, 'other'))
      await seek.writeAll(path, 'in place', 'background', { atomic: false })
      assert.equal(readFileSync(join(test.folder, 'other'), 'utf8'), 'in place')
      await seek.writeAll(path, 'replaced', 'background')
      assert.equal(readFileSync(join(test.folder, 'other'), 'utf8'), 'in place')
      assert.equal(readFileSync(path, 'utf8'), 'replaced')
    },
  },
  {
    name: 'what is not a regular file is written in place: a FIFO, /dev/null, a link to one',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no mkfifo')
      const fifo = join(test.folder, 'fifo')
      execFileSync('mkfifo', [fifo])
      symlinkSync('fifo', join(test.folder, 'link'))
      for (const path of [fifo, join(test.folder, 'link')]) {
        const reader = openSync(fifo, 'r+')
        for (const options of ways) {
          await seek.writeAll(path, inChunks(pattern(30_000), 7777), 'background', options)
          const bytes = Buffer.alloc(30_000)
          assert.equal(readSync(reader, bytes), 30_000)
          assert.ok(bytes.equals(pattern(30_000)))
        }
        closeSync(reader)
        assert.ok(statSync(fifo).isFIFO())
      }
      for (const options of ways) await seek.writeAll('/dev/null', 'nothing', 'background', options)
      assert.ok(statSync('/dev/null').isCharacterDevice())
      assert.deepEqual(readdirSync(test.folder), ['fifo', 'link'])
    },
  },
  {
    name: 'what is open under /proc is written in place, though the text of its link names a file',
    async run(seek, test) {
      if (process.platform !== 'linux') return test.skip('only Linux has /proc/self/fd')
      for (const isDeleted of [false, true]) {
        const path = file(test, 'file', 'old and long')
        const { ino } = statSync(path)
        const fd = openSync(path, 'r+')
        if (isDeleted) unlinkSync(path)
        await seek.writeAll(`/proc/self/fd/${fd}`, 'new', 'background')
        const bytes = Buffer.alloc(20)
        assert.equal(bytes.toString('utf8', 0, readSync(fd, bytes, 0, 20, 0)), 'new')
        closeSync(fd)
        if (!isDeleted) assert.equal(statSync(path).ino, ino)
      }
      assert.deepEqual(readdirSync(test.folder), [])
    },
  },
  {
    name: 'its completion is delivered once, in the turn of its caller, and an AsyncIterable is asked in it',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const jobs: (() => void)[] = []
      const asker = { priority: 'background' as const, deliver: (job: () => void) => void jobs.push(job) }
      let isSettled = false
      const writing = seek.writeAll(path, 'content', asker).then(() => (isSettled = true))
      while (jobs.length === 0) await turns(1)
      await turns(50)
      assert.deepEqual([jobs.length, isSettled, readFileSync(path, 'utf8')], [1, false, 'content'])
      jobs.pop()!()
      await writing

      let asked = 0
      const source = {
        async *[Symbol.asyncIterator]() {
          for (asked = 1; asked <= 3; asked++) yield Buffer.from(`${asked}`)
        },
      }
      const streaming = seek.writeAll(path, source, asker)
      for (let turn = 0; turn < 4; turn++) {
        while (jobs.length === 0) await turns(1)
        await turns(20)
        assert.deepEqual([jobs.length, asked], [1, turn])
        jobs.pop()!()
      }
      while (jobs.length === 0) await turns(1)
      jobs.pop()!()
      await streaming
      assert.equal(readFileSync(path, 'utf8'), '123')
    },
  },
]
