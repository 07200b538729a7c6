import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { inChild } from '../child.ts'
import type { Contract } from '../contract.ts'
import { file, KiB, MiB, pattern } from '../files.ts'

const outcome = `
  const shape = error => ({ ...error, message: error.message })
  const node = call => { try { call() } catch (error) { return shape(error) } }
  const ours = promise => promise.then(() => undefined, shape)
  const asSomebodyElse = () => {
    if (process.getuid() !== 0) return
    process.setgroups([]); process.setgid(65534); process.setuid(65534)
  }
  await seek.stat('.', 'background') // what it needs is set up while it may
`

export const writingProcesses: Contract[] = [
  {
    name: 'who may not write to a file may not replace it: EACCES, as node:fs gives it',
    async run(_seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no modes')
      for (const name of ['read only', 'closed/file', 'read only folder/writable']) {
        if (name.includes('/')) mkdirSync(join(test.folder, name, '..'))
        file(test, name, 'old')
      }
      chmodSync(test.folder, 0o777)
      chmodSync(join(test.folder, 'read only'), 0o444)
      chmodSync(join(test.folder, 'read only folder/writable'), 0o666)
      chmodSync(join(test.folder, 'read only folder'), 0o555)
      chmodSync(join(test.folder, 'closed'), 0)
      const { code, stdout, stderr } = await inChild(
        test,
        `${outcome}
        asSomebodyElse()
        const pairs = []
        for (const name of ['/read only', '/closed/file', '/closed/new', '/read only folder/new']) {
          for (const options of [{}, { atomic: false }]) {
            pairs.push([
              await ours(seek.writeAll(folder + name, 'new', 'background', options)),
              node(() => fs.writeFileSync(folder + name, 'new')),
            ])
          }
        }
        // The file is writable and the folder is not: it cannot be replaced, and that is not passed over in silence.
        const path = folder + '/read only folder/writable'
        const atomic = await ours(seek.writeAll(path, 'new', 'background'))
        const before = fs.readFileSync(path, 'utf8')
        const inPlace = await ours(seek.writeAll(path, 'new', 'background', { atomic: false }))
        console.log(JSON.stringify({ pairs, rest: [atomic?.code, before, inPlace, fs.readFileSync(path, 'utf8')] }))`,
      )
      for (const name of ['closed', 'read only folder']) chmodSync(join(test.folder, name), 0o700)
      assert.equal(code, 0, stderr)
      const { pairs, rest } = JSON.parse(stdout)
      if (pairs.every(([, node]: unknown[]) => node === null))
        return test.skip('this user may write everything')
      for (const [ours, node] of pairs) {
        assert.equal(ours.code, 'EACCES')
        assert.deepEqual(ours, node)
      }
      assert.deepEqual(rest, ['EACCES', 'old', null, 'new'])
      assert.equal(readFileSync(join(test.folder, 'read only'), 'utf8'), 'old')
    },
  },
  {
    name: 'the owner is kept; where that is not permitted, the file is written in place',
    async run(_seek, test) {
      if (process.getuid?.() !== 0) return test.skip('only the superuser can make a file somebody else’s')
      chmodSync(test.folder, 0o777)
      const { code, stdout, stderr } = await inChild(
        test,
        `${outcome}
        const status = name => {
          const { uid, gid, mode } = fs.statSync(folder + '/' + name)
          return [uid, gid, (mode & 0o7777).toString(8)].join(' ')
        }
        const write = name => seek.writeAll(folder + '/' + name, 'new', 'background')
        const make = (name, uid, gid, mode) => {
          fs.writeFileSync(folder + '/' + name, 'old')
          fs.chownSync(folder + '/' + name, uid, gid)
          fs.chmodSync(folder + '/' + name, mode)
        }
        make('kept', 1000, 1001, 0o4640)
        await write('kept')
        console.log(status('kept'))
        // Another's file, writable to all; one of our own in a foreign group; another's in our second group.
        make('foreign', 1000, 1001, 0o6676)
        make('group', 2000, 1001, 0o664)
        make('second group', 1000, 3000, 0o4664)
        process.setgroups([3000]); process.setgid(2000); process.setuid(2000)
        for (const name of ['foreign', 'group', 'second group']) {
          await write(name)
          console.log(status(name))
        }`,
      )
      assert.equal(code, 0, stderr)
      assert.deepEqual(stdout.trimEnd().split('\n'), [
        '1000 1001 4640',
        '1000 1001 676',
        '2000 1001 664',
        '1000 3000 664',
      ])
    },
  },
  {
    name: 'RLIMIT_FSIZE: EFBIG, with the old file as it was',
    async run(_seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no ulimit')
      file(test, 'file', 'old')
      const { code, stdout, stderr } = await inChild(
        test,
        `${outcome}
        const path = folder + '/file'
        const data = Buffer.alloc(3_000_000, 1)
        for (const priority of ['user-blocking', 'background']) {
          console.log((await ours(seek.writeAll(path, data, priority))).message)
          console.log(fs.readFileSync(path, 'utf8'), fs.readdirSync(folder).length)
        }
        const file = await seek.open(folder + '/other', 'background', { flags: 'w' })
        console.log((await ours(file.write(data, 0, 'user-blocking'))).code, (await file.stat('background')).size)
        console.log((await ours(file.truncate(3_000_000, 'background'))).code)
        await file.close()`,
        'ulimit -f 1000', // in blocks of 512 bytes, or in KiB
      )
      assert.equal(code, 0, stderr)
      const lines = stdout.trimEnd().split('\n')
      const error = `EFBIG: file too large, write '${join(test.folder, 'file')}'`
      assert.deepEqual(lines.slice(0, 4), [error, 'old 1', error, 'old 1'])
      assert.match(lines[4]!, /^EFBIG (512000|1024000)$/) // what fits has been written
      assert.equal(lines[5], 'EFBIG')
    },
  },
  {
    name: 'a process that is killed anywhere in writeAll leaves the old file or the new, whole',
    async run(_seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no signals')
      const path = file(test, 'file', pattern(600 * KiB))
      let kills = 0
      let leftovers = 0
      const versions = new Set<number>()
      for (let round = 0; round < 24; round++) {
        const before = readFileSync(path)
        const { signal } = await inChild(
          test,
          `const path = folder + '/file'
          const content = seed => Buffer.alloc(600 * 1024, seed)
          await seek.stat(path, 'background')
          let seed = ${round * 20}
          const writing = (async () => {
            for (;;) await seek.writeAll(path, content(++seed % 256), ['background', 'realtime'][seed % 2])
          })()
          setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${round * 1.7})
          await writing`,
        )
        if (signal === 'SIGKILL') kills++
        const after = readFileSync(path)
        assert.equal(after.length, 600 * KiB, `round ${round}`)
        const isWhole = after.equals(before) || after.every(byte => byte === after[0])
        assert.ok(isWhole, `round ${round}: the content is mixed`)
        versions.add(after[0]!)
        for (const name of readdirSync(test.folder)) {
          if (name === 'file') continue
          assert.match(name, /^\.kiruna-/)
          unlinkSync(join(test.folder, name))
          leftovers++
        }
      }
      assert.equal(kills, 24)
      assert.ok(leftovers > 0 && versions.size > 3, `${leftovers} temporary files, ${versions.size} contents`)
    },
  },
  {
    name: 'process.exit and an uncaught error in the middle of writes end the process, with the old file or the new',
    async run(_seek, test) {
      for (const [end, expected] of [
        ['process.exit(7)', 7],
        ["throw new Error('on purpose')", 1],
      ] as const) {
        writeFileSync(join(test.folder, 'file'), 'old')
        const { code, signal, stderr } = await inChild(
          test,
          `const content = Buffer.alloc(2_000_000, 'n')
          const file = await seek.open(folder + '/other', 'background', { flags: 'w' })
          for (let index = 0; index < 50; index++) {
            seek.writeAll(folder + '/file', content, index % 2 === 0 ? 'background' : 'realtime')
            file.write(content, index * 1000, index % 2 === 0 ? 'background' : 'user-blocking')
            file.sync('background')
          }
          await new Promise(setImmediate)
          setImmediate(() => { ${end} })`,
        )
        assert.deepEqual([code, signal], [expected, null], stderr)
        const content = readFileSync(join(test.folder, 'file'), 'latin1')
        assert.ok(content === 'old' || content === 'n'.repeat(2_000_000))
      }
    },
  },
  {
    name: 'a worker that is terminated in the middle of writes leaves the old file or the new',
    async run(_seek, test) {
      const path = file(test, 'file', pattern(MiB))
      const made = birthOf(path)
      for (let round = 0; round < 12; round++) {
        const before = readFileSync(path)
        const worker = new Worker(
          `const { workerData, parentPort } = require('node:worker_threads')
          import(workerData.url).then(async seek => {
            const { path, round } = workerData
            const file = await seek.open(path + '.other', 'background', { flags: 'w' })
            for (let seed = 0; ; seed++) {
              const content = Buffer.alloc(1024 * 1024, (round * 20 + seed) % 256)
              const writes = [
                seek.writeAll(path, content, 'realtime'),
                seek.writeAll(path, content, 'background'),
                file.write(content, 0, 'background'),
                file.sync('background'),
              ]
              parentPort.postMessage('under way')
              await Promise.all(writes)
            }
          })`,
          { eval: true, workerData: { url: test.url, path, round } },
        )
        // In the last round the second message comes: by then one has been written, however slow the machine is.
        let messages = round === 11 ? 2 : 1
        await new Promise<void>((resolve, reject) => {
          worker.on('message', () => --messages === 0 && resolve()).once('error', reject)
        })
        await setTimeout(round * 2)
        await worker.terminate()
        const content = readFileSync(path)
        const isWhole = content.equals(before) || content.every(byte => byte === content[0])
        assert.ok(content.length === MiB && isWhole, `round ${round}`)
      }
      assert.notEqual(birthOf(path), made)
      for (const name of readdirSync(test.folder)) {
        assert.ok(['file', 'file.other'].includes(name) || name.startsWith('.kiruna-'), name)
      }
    },
  },
]

/** Which file it is: the number alone may be given to the next but one. */
function birthOf(path: string): string {
  const { ino, birthtimeNs } = statSync(path, { bigint: true })
  return `${ino} ${birthtimeNs}`
}
