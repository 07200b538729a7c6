import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Contract, Test } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { rejection, turns } from '../outcomes.ts'

/** Bytes that come when the test says so. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  async function* bytes(content: string) {
    await opened
    yield Buffer.from(content)
  }
  return { open: () => open(), bytes }
}

export const saving: Contract[] = [
  {
    name: 'of several saves of one file the one that was asked for last stays, and none is dropped',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      for (const atomic of [true, false]) {
        const { open, bytes } = gate()
        const order: string[] = []
        const save = (
          content: string,
          data: string | AsyncIterable<Uint8Array>,
          priority: 'background' | 'realtime',
        ) =>
          seek.writeAll(path, data, priority, { atomic }).then(() => {
            order.push(`${content}: ${readFileSync(path, 'utf8')}`)
          })
        const saves = [
          save('first', bytes('first'), 'background'),
          save('second', 'second', 'realtime'),
          save('third', 'third', 'background'),
          save('last', 'last', 'realtime'),
        ]
        await turns(20)
        assert.deepEqual(order, [])
        open()
        await Promise.all(saves)
        assert.deepEqual(order, ['first: first', 'second: second', 'third: third', 'last: last'])
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a save that waits for another raises it, and leaves the queue when it is aborted',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const { open, bytes } = gate()
      const asked: string[] = []
      const first = seek.writeAll(path, bytes('first'), 'background')
      await turns(20)
      const controller = new AbortController()
      const aborted = rejection(
        seek.writeAll(path, 'aborted', { priority: 'user-blocking', signal: controller.signal }),
      )
      const last = seek.writeAll(path, 'last', 'realtime').then(() => asked.push('last'))
      await turns(20)
      controller.abort('why')
      assert.equal(await aborted, 'why')
      // What fills the lane at user-visible would hold up a save at background for as long as it lasts.
      const flood = Array.from({ length: 64 }, () =>
        seek.readAll(file(test, 'large', pattern(MiB)), 'user-visible').then(() => asked.push('flood')),
      )
      open()
      await Promise.all([first, last, ...flood])
      assert.equal(readFileSync(path, 'utf8'), 'last')
      assert.ok(asked.indexOf('last') < 60, `it came after ${asked.indexOf('last')} of 64 reads`)
    },
  },
  {
    name: 'two names of one file are one file',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows makes links for some users only')
      mkdirSync(join(test.folder, 'real'))
      const path = file(test, 'real/file', 'old')
      symlinkSync('real', join(test.folder, 'folder'))
      symlinkSync('folder/file', join(test.folder, 'link'))
      for (const [one, other] of [
        [path, join(test.folder, 'link')],
        [join(test.folder, 'link'), path],
        [join(test.folder, 'folder/file'), path],
      ] as const) {
        const saves = [
          seek.writeAll(one, Buffer.alloc(4 * MiB), 'background'),
          turns(1).then(() => seek.writeAll(other, 'last', 'realtime')),
        ]
        await Promise.all(saves)
        assert.equal(readFileSync(path, 'utf8'), 'last')
      }
    },
  },
  {
    name: 'a save that fails holds up no other, nor does a source that never returns',
    async run(seek, test) {
      const path = join(test.folder, 'file')
      const stuck: AsyncIterable<Uint8Array> = {
        [Symbol.asyncIterator]: () => ({
          next: () => Promise.resolve({ done: false, value: 'not bytes' as unknown as Uint8Array }),
          return: () => new Promise<never>(() => {}),
        }),
      }
      const failed = rejection(seek.writeAll(path, stuck, 'background'))
      const saved = seek.writeAll(path, 'saved', 'background')
      assert.equal((await failed).code, 'ERR_INVALID_ARG_TYPE')
      await saved
      assert.equal(readFileSync(path, 'utf8'), 'saved')
    },
  },
  {
    name: 'an access list gives nobody rights that he had not: it is kept, or the file is written in place',
    async run(seek, test) {
      const path = file(test, 'file', 'secret')
      const list = accessLists(test)
      if (list === undefined) return
      for (const mode of [0o600, 0o640, 0o755, 0o644]) {
        chmodSync(path, mode)
        list.set(path, 'u:nobody:r')
        const before = list.get(path)
        await seek.writeAll(path, 'new secret', 'user-visible')
        const after = list.get(path)
        // node:fs has no call for a list. One that gave no more than everybody has may be lost there.
        if (after !== before) {
          assert.equal(after.includes('nobody'), false)
          assert.deepEqual(rights(after), rights(before))
        }
        execFileSync('setfacl', ['-b', path])
      }
      // A file without a list that is saved in a folder with a default one has none afterwards.
      list.set(test.folder, 'd:u:nobody:rw')
      chmodSync(path, 0o640)
      const plain = list.get(path)
      await seek.writeAll(path, 'newest', 'user-visible')
      assert.equal(list.get(path), plain)
    },
  },
  {
    name: "atomic: 'require' replaces the file, or says why it cannot and leaves it",
    async run(seek, test) {
      const path = file(test, 'file', 'old')
      chmodSync(path, 0o644)
      await seek.writeAll(path, 'new', 'background', { atomic: 'require' })
      assert.equal(readFileSync(path, 'utf8'), 'new')
      const error = await rejection(
        seek.writeAll(path, 'x', 'background', { atomic: 'perhaps' as unknown as boolean }),
      )
      assert.equal(error.code, 'ERR_INVALID_ARG_TYPE')
      if (process.platform !== 'linux') return
      const device = await rejection(seek.writeAll('/dev/null', 'x', 'background', { atomic: 'require' }))
      assert.equal(device.code, 'ENOTSUP')
    },
  },
  {
    name: 'a name that leaves no room for a temporary one beside it is written in place',
    async run(seek, test) {
      if (process.platform !== 'linux') return test.skip('only Linux has a PATH_MAX of 4,096 here')
      let folder = test.folder
      while (folder.length < 4000) {
        folder = join(folder, 'x'.repeat(Math.min(200, 4080 - folder.length)))
        mkdirSync(folder)
      }
      const path = join(folder, 'y'.repeat(4094 - folder.length))
      writeFileSync(path, 'old')
      await seek.writeAll(path, 'new', 'background', { durable: false })
      assert.equal(readFileSync(path, 'utf8'), 'new')
    },
  },
  {
    name: 'what the kernel shows as files is written in place',
    async run(seek, test) {
      const path = '/proc/self/comm'
      if (process.platform !== 'linux') return test.skip('only Linux has /proc')
      const before = readFileSync(path, 'utf8')
      try {
        await seek.writeAll(path, 'kiruna', 'background')
        assert.equal(readFileSync(path, 'utf8'), 'kiruna\n')
      } finally {
        writeFileSync(path, before.trim())
      }
    },
  },
  {
    name: 'a file that grows is read to about the size that it had',
    async run(seek, test) {
      const path = file(test, 'file', pattern(2 * MiB))
      const stop = { isStopped: false }
      const growing = (async () => {
        while (!stop.isStopped) {
          appendFileSync(path, pattern(8 * KiB))
          await turns(1)
        }
      })()
      for (let i = 0; i < 5; i++) {
        const most = statSync(path).size
        const bytes = await seek.readAll(path, 'background')
        assert.ok(bytes.length >= most && bytes.length <= statSync(path).size)
        assert.ok(bytes.subarray(0, 2 * MiB).equals(pattern(2 * MiB)))
      }
      stop.isStopped = true
      await growing
    },
  },
  {
    name: 'readAll of a FIFO reads until its writers have gone',
    async run(seek, test) {
      if (process.platform === 'win32') return test.skip('Windows has no FIFOs')
      const path = join(test.folder, 'fifo')
      execFileSync('mkfifo', [path])
      const writer = spawn('sh', ['-c', 'printf one > "$0"; sleep 0.05', path], { stdio: 'ignore' })
      assert.equal(String(await seek.readAll(path, 'background')), 'one')
      await new Promise(resolve => (writer.exitCode === null ? writer.once('exit', resolve) : resolve(0)))
    },
  },
  {
    name: 'when readAll resolves, the disk can be unmounted',
    async run(seek, test) {
      if (process.platform !== 'linux' || process.getuid!() !== 0)
        return test.skip('only root, on Linux, can mount a disk')
      const disk = join(test.folder, 'disk')
      mkdirSync(disk)
      try {
        execFileSync('mount', ['-t', 'tmpfs', 'none', disk], { stdio: 'pipe' })
      } catch (error) {
        return test.skip(`a disk cannot be mounted: ${(error as Error).message}`)
      }
      try {
        for (const sizeBytes of [10, 40 * KiB, 2 * MiB])
          writeFileSync(join(disk, String(sizeBytes)), pattern(sizeBytes))
        for (const name of readdirSync(disk)) {
          await seek.readAll(join(disk, name), 'background')
          execFileSync('mount', ['-o', 'remount,ro', disk])
          execFileSync('mount', ['-o', 'remount,rw', disk])
        }
        await seek.readAll(join(disk, '10'), 'background')
      } finally {
        execFileSync('umount', [disk])
      }
    },
  },
  {
    name: 'a path in a Buffer is what it was at the call, and options are what was given',
    async run(seek, test) {
      const [path, other] = [file(test, 'file a', 'a'), file(test, 'file b', 'b')]
      const name = Buffer.from(path)
      const read = seek.readAll(name, 'background')
      const written = seek.writeAll(name, 'new', 'background', { durable: false })
      name.write('b', name.length - 1)
      assert.equal(String(await read).length > 0, true)
      await written
      assert.deepEqual(
        [path, other].map(one => readFileSync(one, 'utf8')),
        ['new', 'b'],
      )
      const polluted = Object.prototype as { flags?: string; mode?: number; atomic?: boolean }
      Object.assign(polluted, { flags: 'w', mode: 0o777, atomic: 'never' })
      try {
        await (await seek.open(path, 'user-visible')).close()
        await seek.writeAll(`${path}2`, 'x', 'user-visible')
      } finally {
        for (const option of ['flags', 'mode', 'atomic'] as const) delete polluted[option]
      }
      assert.equal(readFileSync(path, 'utf8'), 'new')
      if (process.platform !== 'win32') assert.equal(statSync(`${path}2`).mode & 0o111, 0)
    },
  },
]

/** Those of the group itself, and of all others. */
function rights(list: string): string[] {
  return ['group', 'other'].map(who => new RegExp(`^${who}::(.*)$`, 'm').exec(list)![1]!)
}

/** setfacl(1) and getfacl(1). */
function accessLists(test: Test) {
  const get = (path: string) => execFileSync('getfacl', ['-cpE', path], { encoding: 'utf8' })
  const set = (path: string, entry: string) => execFileSync('setfacl', ['-m', entry, path], { stdio: 'pipe' })
  try {
    set(file(test, 'probe', ''), 'u:nobody:r')
  } catch (error) {
    test.skip(`no access lists here: ${(error as Error).message}`)
    return undefined
  }
  return { get, set }
}
