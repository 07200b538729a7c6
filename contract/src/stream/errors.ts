import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { errnoOf } from '@kiruna/priority/error'
import { assertAllClosed, file } from '../files.ts'
import { assertSameError, errorOf, rejection } from '../outcomes.ts'
import { inChild } from './child.ts'
import type { StreamContract } from './contract.ts'
import { pipe, text } from './pipes.ts'

export const errors: StreamContract[] = [
  {
    name: 'ENOENT, ENOTDIR, EISDIR and EACCES are as node:fs gives them',
    async run(stream, test) {
      const missing = join(test.folder, 'ä missing')
      const below = join(file(test, 'file', ''), 'below')
      for (const path of [missing, below]) {
        const expected = await errorOf(done => fs.open(path, 'r', done))
        assertSameError(await rejection(stream.all(path, 'background')), expected)
        assertSameError(await rejection(stream.read(path, 'background').next()), expected)
        const out = stream.write(path, 'background', { flags: 'r+' })
        assertSameError(await rejection(out.write('bytes')), expected)
      }
      const read = await rejection(stream.all(test.folder, 'background'))
      assert.deepEqual([read.code, read.syscall, read.path], ['EISDIR', 'read', test.folder])
      const expected = await errorOf(done => fs.open(test.folder, 'w', done))
      assertSameError(await rejection(stream.write(test.folder, 'background').write('bytes')), expected)
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an fd that is not open is EBADF, and so is one for the other direction',
    async run(stream, test) {
      const fd = fs.openSync(file(test, 'file', 'content'), 'r')
      assert.equal((await rejection(stream.write(fd, 'background').write('x'))).code, 'EBADF')
      fs.closeSync(fd)
      const read = await rejection(stream.all(fd, 'background'))
      assert.deepEqual([read.code, read.errno, read.syscall], ['EBADF', errnoOf('EBADF'), 'read'])
      const write = await rejection(stream.write(fd, 'background').write('x'))
      assert.deepEqual([write.code, write.errno, write.syscall], ['EBADF', errnoOf('EBADF'), 'write'])
      const out = fs.openSync(join(test.folder, 'out'), 'w')
      assert.equal((await rejection(stream.all(out, 'background'))).code, 'EBADF')
      fs.closeSync(out)
      const { readFd, writeFd, close } = pipe(test)
      assert.equal((await rejection(stream.all(writeFd, 'background'))).code, 'EBADF')
      assert.equal((await rejection(stream.write(readFd, 'background').write('x'))).code, 'EBADF')
      close()
    },
  },
  {
    name: 'an fd that the caller closes between two reads is EBADF',
    async run(stream, test) {
      const fd = fs.openSync(file(test, 'file', 'content'), 'r')
      const iterator = stream.read(fd, 'background', { chunkBytes: 2 })
      assert.equal(await text(iterator), 'co')
      fs.closeSync(fd)
      assert.equal((await rejection(iterator.next())).code, 'EBADF')
      assert.deepEqual(await iterator.next(), { done: true, value: undefined })
    },
  },
  {
    name: 'the next file of the same fd begins at its own beginning',
    async run(stream, test) {
      for (let round = 0; round < 30; round++) {
        const fd = fs.openSync(file(test, 'file', `content ${round}`), 'r')
        const controller = new AbortController()
        const iterator = stream.read(fd, { priority: 'background', signal: controller.signal })
        const next = iterator.next().catch(() => {})
        if (round % 2 === 0) await new Promise(setImmediate)
        controller.abort()
        await next
        await setTimeout(20) // nothing is under way any more: it may be closed
        fs.closeSync(fd)
        const again = fs.openSync(join(test.folder, 'file'), 'r')
        assert.equal(String(await stream.all(again, 'background')), `content ${round}`)
        fs.closeSync(again)
      }
    },
  },
  {
    name: 'an error ends the loop and closes what was opened',
    async run(stream, test) {
      const { close } = pipe(test)
      for (let round = 0; round < 3; round++) await rejection(stream.all(test.folder, 'background'))
      const out = stream.write(join(test.folder, 'out'), 'background', { flags: 'ax' })
      await out.write('x')
      await out.end()
      close()
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'EMFILE is an error, and all works again once files are closed',
    async run(_, test) {
      file(test, 'file', 'content')
      const { code, stdout, stderr } = await inChild(
        test,
        `const path = folder + '/file'
         await stream.all(path, 'background')
         await sleep(20)
         const open = []
         try { for (;;) open.push(fs.openSync(path)) } catch (error) { if (error.code !== 'EMFILE') throw error }
         const codes = []
         const note = error => codes.push(error.code + ' ' + error.syscall)
         await stream.all(path, 'background').catch(note)
         await stream.write(folder + '/out', 'background').write('x').catch(note)
         for (const fd of open) fs.closeSync(fd)
         codes.push(String(await stream.all(path, 'background')))
         console.log(JSON.stringify(codes))`,
        { shell: 'ulimit -n 64; exec "$@"' },
      )
      assert.equal(stderr, '')
      assert.deepEqual(JSON.parse(stdout), ['EMFILE open', 'EMFILE open', 'content'])
      assert.equal(code, 0)
    },
  },
  {
    name: 'many streams leave no descriptor and no listener behind',
    async run(stream, test) {
      const controller = new AbortController()
      const caller = { priority: 'user-visible' as const, signal: controller.signal }
      const { readFd, writeFd, close } = pipe(test)
      const path = file(test, 'file', 'content')
      const count = () => fs.readdirSync('/dev/fd').length
      const round = async () => {
        const iterator = stream.read(readFd, caller)
        const out = stream.write(writeFd, caller)
        await out.write('x')
        assert.equal(await text(iterator), 'x')
        await out.end()
        await iterator.return!()
        await stream.all(path, caller)
      }
      await round()
      await setTimeout(20)
      const before = count()
      for (let rounds = 0; rounds < 100; rounds++) await round()
      for (let waits = 0; waits < 100 && count() > before; waits++) await setTimeout(10)
      assert.ok(count() <= before)
      assert.equal(getEventListeners(controller.signal, 'abort').length, 0)
      close()
    },
  },
]
