import assert from 'node:assert/strict'
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { inChild } from '../child.ts'
import type { Contract } from '../contract.ts'
import { file, MiB, pattern } from '../files.ts'

const outcome = `
  const shape = error => ({ ...error, message: error.message })
  const node = call => { try { call() } catch (error) { return shape(error) } }
  const ours = promise => promise.then(value => ({ value: typeof value }), shape)
`

export const processes: Contract[] = [
  {
    name: 'EACCES is as node:fs gives it',
    async run(_seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no modes')
      const path = file(test, 'secret', 'content')
      const folder = join(test.folder, 'closed')
      mkdirSync(folder)
      file(test, 'closed/below', 'content')
      chmodSync(path, 0)
      chmodSync(folder, 0)
      chmodSync(test.folder, 0o755)
      const { code, stdout, stderr } = await inChild(
        test,
        `${outcome}
        if (process.getuid() === 0) {
          await seek.stat('.', 'background') // what it needs is set up while it may
          process.setgroups([]); process.setgid(65534); process.setuid(65534)
        }
        const pairs = []
        for (const path of [folder + '/secret', folder + '/closed/below']) {
          pairs.push([await ours(seek.open(path, 'background')), node(() => fs.openSync(path))])
          pairs.push([await ours(seek.readAll(path, 'background')), node(() => fs.openSync(path))])
          const results = []
          for await (const { error } of seek.readMany([path], 'background')) results.push(error && shape(error))
          pairs.push([results[0], node(() => fs.openSync(path))])
        }
        pairs.push([
          await ours(seek.stat(folder + '/closed/below', 'background')),
          node(() => fs.statSync(folder + '/closed/below')),
        ])
        pairs.push([
          await ours(seek.readdir(folder + '/closed', 'background')),
          node(() => fs.readdirSync(folder + '/closed')),
        ])
        console.log(JSON.stringify(pairs))`,
      )
      chmodSync(folder, 0o700)
      assert.equal(code, 0, stderr)
      const pairs: [{ code?: string }, { code?: string } | undefined][] = JSON.parse(stdout)
      if (pairs.every(([, node]) => node === null)) return test.skip('this user may read everything')
      assert.equal(pairs.length, 8)
      for (const [ours, node] of pairs) {
        assert.equal(ours.code, 'EACCES')
        assert.deepEqual(ours, node)
      }
    },
  },
  {
    name: 'EMFILE is as node:fs gives it, and all works again once files are closed',
    async run(_seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no ulimit')
      file(test, 'file', 'content')
      const { code, stdout, stderr } = await inChild(
        test,
        `${outcome}
        const path = folder + '/file'
        await seek.stat(path, 'background')
        const files = []
        let error
        while (error === undefined) {
          await seek.open(path, 'background').then(file => files.push(file), reason => { error = reason })
          if (files.length > 200) throw new Error('there is no limit')
        }
        const expected = node(() => fs.openSync(path))
        const results = []
        for await (const { error } of seek.readMany([path, path], 'background')) results.push(shape(error))
        const pairs = [
          [shape(error), expected],
          [await ours(seek.readAll(path, 'background')), expected],
          [results[0], expected],
          [results[1], expected],
          [await ours(seek.readdir(folder, 'background')), node(() => fs.readdirSync(folder))],
        ]
        const { size } = await seek.stat(path, 'background') // needs no descriptor
        await Promise.all(files.map(file => file.close()))
        const after = String(await seek.readAll(path, 'background'))
        console.log(JSON.stringify({ pairs, size, after, opened: files.length }))`,
        'ulimit -n 64',
      )
      assert.equal(code, 0, stderr)
      const { pairs, size, after, opened } = JSON.parse(stdout)
      assert.ok(opened > 10)
      for (const [ours, node] of pairs) {
        assert.equal(ours.code, 'EMFILE')
        assert.deepEqual(ours, node)
      }
      assert.deepEqual([size, after], [7, 'content'])
    },
  },
  {
    name: 'many large files at once are read a few at a time: they do not use up the descriptors',
    async run(_, test) {
      if (process.platform === 'win32') return test.skip('Windows has no ulimit')
      const exit = await inChild(
        test,
        `const paths = Array.from({ length: 300 }, (_, i) => folder + '/' + i)
         for (const path of paths) fs.writeFileSync(path, Buffer.alloc(600_000))
         const all = await Promise.allSettled(paths.map(path => seek.readAll(path, 'background')))
         console.log(all.filter(one => one.status === 'fulfilled').length)`,
        'ulimit -n 128',
      )
      assert.deepEqual(exit, { code: 0, signal: null, stdout: '300\n', stderr: '' })
    },
  },
  {
    name: 'what is left unfinished is no unhandled rejection',
    async run(_seek, test) {
      file(test, 'file', pattern(2 * MiB))
      const { code, stdout, stderr } = await inChild(
        test,
        `const path = folder + '/file'
        const swallowed = () => {}
        const file = await seek.open(path, 'background')
        for await (const _ of file.chunks('background', { chunkBytes: 1000 })) break
        for await (const _ of seek.readMany(Array(100).fill(path), 'background')) break
        for await (const _ of seek.readMany(Array(100).fill('missing'), 'background')) break
        file.chunks('background') // never begun
        seek.readMany(['missing'], 'background')
        const controller = new AbortController()
        const caller = { priority: 'background', signal: controller.signal }
        const chunks = file.chunks(caller)
        await chunks.next()
        const many = seek.readMany(Array(100).fill(path), caller)
        await many.next()
        const reads = [seek.readAll(path, caller), file.read(Buffer.alloc(1000), 0, caller)]
        for (const read of reads) read.catch(swallowed)
        controller.abort()
        await file.close()
        file.close()
        await file.chunks('background').next().catch(swallowed)
        for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
        console.log('done')`,
      )
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'done\n', stderr: '' })
    },
  },
  {
    name: 'what waits or is in flight keeps the process alive, and nothing else does',
    async run(_seek, test) {
      file(test, 'file', pattern(2 * MiB))
      const { code, stdout, stderr } = await inChild(
        test,
        `const path = folder + '/file'
        const file = await seek.open(path, 'background') // open, and never closed
        let done = 0
        for (let index = 0; index < 50; index++) seek.readAll(path, 'background').then(() => done++)
        for (let index = 0; index < 50; index++) file.read(Buffer.alloc(1000000), 0, 'user-visible').then(() => done++)
        process.on('exit', () => console.log(done))`,
      )
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '100\n', stderr: '' })
    },
  },
  {
    name: 'process.exit with operations in flight exits',
    async run(_seek, test) {
      file(test, 'file', pattern(2 * MiB))
      const { code, signal, stderr } = await inChild(
        test,
        `const path = folder + '/file'
        const file = await seek.open(path, 'background')
        // Little memory: V8 24 may deadlock by itself in an exit with hundreds of fresh megabytes.
        const memory = Buffer.alloc(2000000)
        for (let index = 0; index < 200; index++) {
          if (index < 20) seek.readAll(path, index % 2 === 0 ? 'background' : 'realtime')
          file.read(memory, 0, index % 2 === 0 ? 'background' : 'user-blocking')
        }
        await new Promise(setImmediate)
        process.exit(7)`,
      )
      assert.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' })
    },
  },
]
