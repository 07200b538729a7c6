import assert from 'node:assert/strict'
import { readFileSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { priorities } from '@kiruna/priority'
import type { Contract, File, Seek, Test } from '../contract.ts'
import { file, GiB, MiB, pattern } from '../files.ts'
import { assertRejectsWith, rejection } from '../outcomes.ts'

/** An open file, where this system and its disk have the call; elsewhere the rest is skipped. */
async function opened(seek: Seek, test: Test, content = pattern(1000)): Promise<File | undefined> {
  const path = file(test, 'file', content)
  const opened = await seek.open(path, 'user-blocking', { flags: 'r+' })
  try {
    await opened.allocate(0, 1, 'user-blocking')
    return opened
  } catch (error) {
    const { code, syscall, path: named } = error as NodeJS.ErrnoException
    assert.deepEqual([code, syscall, named], ['ENOTSUP', 'fallocate', path])
    assert.ok(readFileSync(path).equals(content), 'what is not supported changes nothing')
    await opened.close()
    test.skip('ENOTSUP: there is no such call here')
    return undefined
  }
}

const pathOf = ({ folder }: Test) => join(folder, 'file')

export const allocating: Contract[] = [
  {
    name: 'allocate makes a file longer, with zeros, and leaves what is there',
    async run(seek, test) {
      const file = await opened(seek, test)
      if (file === undefined) return
      for (const [index, priority] of priorities.entries()) {
        const end = 5000 + index * 1000
        assert.equal(await file.allocate(500, end - 500, priority), undefined)
        const expected = Buffer.concat([pattern(1000), Buffer.alloc(end - 1000)])
        assert.ok(readFileSync(pathOf(test)).equals(expected), priority)
      }
      await file.allocate(10, 20, 'background')
      assert.equal(statSync(pathOf(test)).size, 8000, 'within the file it stays as long as it was')
      await file.close()
    },
  },
  {
    name: 'allocate reserves: of a hole too, and beyond 4 GiB',
    async run(seek, test) {
      const file = await opened(seek, test)
      if (file === undefined) return
      await file.truncate(5 * GiB, 'user-visible')
      const before = statSync(pathOf(test)).blocks
      await file.allocate(MiB, MiB, 'background')
      await file.allocate(5 * GiB - MiB, 2 * MiB, 'background')
      const { blocks, size } = statSync(pathOf(test))
      assert.ok((blocks - before) * 512 >= 3 * MiB, `${blocks - before} blocks more`)
      assert.equal(size, 5 * GiB + MiB)
      await file.close()
    },
  },
  {
    name: 'more than the disk has room for is ENOSPC, and what the OS refuses has its code and path',
    async run(seek, test) {
      const writable = await opened(seek, test)
      if (writable === undefined) return
      const path = pathOf(test)
      const { bavail, bsize } = statfsSync(test.folder)
      const tooMuch = await rejection(writable.allocate(0, bavail * bsize * 2, 'background'))
      assert.ok(['ENOSPC', 'EFBIG'].includes(tooMuch.code!), tooMuch.message)
      const readable = await seek.open(path, 'background')
      const { code, syscall, path: named } = await rejection(readable.allocate(0, 10, 'background'))
      assert.deepEqual([code, syscall, named], ['EBADF', 'fallocate', path])
      await readable.close()
      await writable.close()
    },
  },
  {
    name: 'a bad range is an error before anything starts, and a closed file is EBADF',
    async run(seek, test) {
      const path = file(test, 'file', 'content')
      const opened = await seek.open(path, 'background', { flags: 'r+' })
      for (const [offset, length, Kind, code] of [
        [-1, 10, RangeError, 'ERR_OUT_OF_RANGE'],
        [0.5, 10, RangeError, 'ERR_OUT_OF_RANGE'],
        ['0' as never, 10, TypeError, 'ERR_INVALID_ARG_TYPE'],
        [0, 0, RangeError, 'ERR_OUT_OF_RANGE'],
        [0, 2 ** 53, RangeError, 'ERR_OUT_OF_RANGE'],
        [0, undefined as never, TypeError, 'ERR_INVALID_ARG_TYPE'],
      ] as const) {
        const what = `${offset}, ${length}`
        await assertRejectsWith(() => opened.allocate(offset, length, 'background'), Kind, code, what)
      }
      const bad = () => opened.allocate(0, 10, 'urgent' as never)
      await assertRejectsWith(bad, TypeError, 'ERR_INVALID_ARG_VALUE', 'a priority')
      await opened.close()
      const { code } = await rejection(opened.allocate(0, 10, 'background'))
      assert.ok(code === 'EBADF' || code === 'ENOTSUP', code)
      assert.equal(String(readFileSync(path)), 'content')
    },
  },
  {
    name: 'aborted before it starts, allocate rejects with the reason and has changed nothing',
    async run(seek, test) {
      const file = await opened(seek, test)
      if (file === undefined) return
      const caller = { priority: 'background', signal: AbortSignal.abort('enough') } as const
      assert.equal(await rejection(file.allocate(0, 10_000, caller)), 'enough')
      assert.ok(readFileSync(pathOf(test)).equals(pattern(1000)))
      await file.close()
    },
  },
]
