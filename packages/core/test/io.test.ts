import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { install, packages, run } from './run-module.test-support.ts'

let folder = ''
let path = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kiruna-core-'))
  path = join(folder, 'file')
  writeFileSync(path, 'content')
})
afterAll(() => rmSync(folder, { recursive: true }))

/** As a user of `@kiruna/core` would whose packages are in `cwd`. */
const asUser = (
  source: string,
  env: Record<string, string> = {},
  cwd = join(packages, 'core'),
  command?: [string, ...string[]],
) => run(source, cwd, { FILE: path, ...env }, command)

const header = `
  import { post, spawn } from '@kiruna/core'
  import { implementation, seek } from '@kiruna/core/io'
  const path = process.env.FILE
`

/** What the module prints, line by line; it must end well and warn of nothing. */
async function lines(source: string, env?: Record<string, string>): Promise<string[]> {
  const { code, out, err } = await asUser(header + source, env)
  expect({ code, err }).toEqual({ code: 0, err: '' })
  return out.split('\n').slice(0, -1)
}

describe('which implementation', () => {
  const say = `
    console.log(JSON.stringify(implementation()))
    console.log(String(await seek.readAll(path, 'user-blocking')))`

  test('is said, with a reason where it is not the OS’s own', async () => {
    const [answer, content] = await lines(say)
    const { name, reason } = JSON.parse(answer!)
    const own = process.platform === 'darwin' ? 'dispatch' : 'io_uring'
    if (name === 'libuv') expect(reason).toBeTypeOf('string')
    else expect({ name, reason }).toEqual({ name: own, reason: undefined })
    expect(content).toBe('content')
  })

  test('KIRUNA_IO=libuv forces libuv', async () => {
    const [answer, content] = await lines(say, { KIRUNA_IO: 'libuv' })
    expect(JSON.parse(answer!)).toEqual({ name: 'libuv', reason: 'KIRUNA_IO=libuv' })
    expect(content).toBe('content')
  })

  test('an empty KIRUNA_IO is none', async () => {
    const [answer] = await lines(say, { KIRUNA_IO: '' })
    expect(JSON.parse(answer!).reason).not.toBe('KIRUNA_IO=')
  })

  test('another KIRUNA_IO is ignored, with one warning that says what it may be', async () => {
    const { code, out, err } = await asUser(`${header}${say}\nimplementation('stream')`, {
      KIRUNA_IO: 'iouring',
    })
    expect(code).toBe(0)
    expect(JSON.parse(out.split('\n')[0]!).reason).not.toBe('KIRUNA_IO=iouring')
    expect(err.match(/KIRUNA_IO may be 'libuv' or unset, not 'iouring'/g)).toHaveLength(1)
  })

  test('each personality says its own, and an unknown one is an error', async () => {
    const out = await lines(
      `for (const one of ['seek', 'stream', 'socket']) console.log(implementation(one).name)
       try { implementation('files') } catch (error) { console.log(error.code) }`,
      { KIRUNA_IO: 'libuv' },
    )
    expect(out).toEqual(['libuv', 'libuv', 'libuv', 'ERR_INVALID_ARG_VALUE'])
  })

  test('the answer is the caller’s own copy', async () => {
    const out = await lines(`
      implementation().name = 'mine'
      console.log(implementation().name !== 'mine')`)
    expect(out).toEqual(['true'])
  })

  test('on macOS it is Grand Central Dispatch, and libuv with a reason where its addon is missing', async () => {
    const built = join(packages, 'darwin-dispatch/build/Release/dispatch.node') // on Linux by test:dispatch
    const onMac = "Object.defineProperty(process, 'platform', { value: 'darwin' })"
    const { err, out } = await asUser(
      `${onMac}
       const { implementation, seek } = await import('@kiruna/core/io')
       console.log(JSON.stringify(implementation()))
       console.log(String(await seek.readAll(process.env.FILE, 'user-blocking')))`,
    )
    expect(err).toBe('')
    const [answer = '', content] = out.split('\n')
    expect(content).toBe('content')
    if (existsSync(built)) expect(JSON.parse(answer)).toEqual({ name: 'dispatch' })
    else {
      const reason = `@kiruna/darwin-dispatch has no addon for darwin on ${process.arch}`
      expect(JSON.parse(answer)).toEqual({ name: 'libuv', reason })
    }
  })

  describe.runIf(process.platform === 'linux')('where io_uring cannot be had', () => {
    const always = ['core', 'fs-seek', 'fs-stream', 'net-socket', 'priority']
    const fallback = ['node-libuv', 'node-seek', 'node-socket', 'node-stream']
    const own = ['linux-seek', 'linux-stream', 'linux-uring']

    /** A folder with these packages, but without their addons. */
    function installed(...names: string[]): string {
      const root = mkdtempSync(join(folder, 'installed-'))
      install(root, names)
      return root
    }

    /** What is said where those are installed: libuv, for this reason. */
    async function expectReason(root: string, reason: string): Promise<void> {
      const { code, out, err } = await asUser(header + say, {}, root)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      const [answer, content] = out.split('\n')
      expect(JSON.parse(answer!)).toEqual({ name: 'libuv', reason })
      expect(content).toBe('content')
    }

    test('linux-seek is not installed: libuv, and it says so', () =>
      expectReason(installed(...always, ...fallback), '@kiruna/linux-seek is not installed'))

    test('its floor is not installed: libuv, and it says so', () =>
      expectReason(
        installed(...always, ...fallback, 'linux-seek', 'linux-stream'),
        '@kiruna/linux-uring is not installed',
      ))

    test('linux-uring has no addon for this machine: libuv, and it says so', () =>
      expectReason(
        installed(...always, ...fallback, ...own),
        `@kiruna/linux-uring has no addon for linux on ${process.arch}`,
      ))

    // As container runtimes do.
    test.each([
      ['EPERM', 1],
      ['ENOSYS', 38],
      ['ENOMEM', 12],
    ])('a seccomp filter answers io_uring_setup with %s: libuv, and it says so', async (name, errno) => {
      const filter = join(packages, 'linux-seek/test/forbid.py')
      const node: [string, ...string[]] = ['python3', filter, `${errno}`, '425', process.execPath]
      const { code, out, err } = await asUser(header + say, {}, undefined, [
        ...node,
        '--input-type=module',
        '-e',
      ])
      expect({ code, err }).toEqual({ code: 0, err: '' })
      const [answer, content] = out.split('\n')
      expect(JSON.parse(answer!)).toEqual({
        name: 'libuv',
        reason: expect.stringMatching(new RegExp(`^${name}: .*, io_uring_setup`)),
      })
      expect(content).toBe('content')
    })

    test.for<[string, string | undefined, string[]]>([
      ['Bun', process.env.KIRUNA_BUN, ['-e']],
      ['Deno', process.env.KIRUNA_DENO, ['eval', '--ext=mjs']],
    ])('%s has no uv_poll: libuv, and it says so', async ([name, program, args], context) => {
      const variable = `KIRUNA_${name.toUpperCase()}`
      if (program === undefined) {
        console.log(`skipped: ${variable} does not name a ${name}`)
        return context.skip(`${variable} is not set`)
      }
      const alone = `
        const alone = await import('@kiruna/linux-seek')
        await alone.stat(path, 'realtime').catch(error => console.log(error.code + ': ' + error.message))`
      const { code, out, err } = await asUser(header + say + alone, {}, undefined, [program, ...args])
      expect({ code, err }).toEqual({ code: 0, err: '' })
      const reason = `${name} has no uv_poll`
      expect(out.split('\n')).toEqual([
        JSON.stringify({ name: 'libuv', reason }),
        'content',
        `ERR_KIRUNA_UNAVAILABLE: ${reason}`,
        '',
      ])
    })

    test.each([
      ['is broken', "export function ring() { throw new Error('broken') }", 'broken'],
      ['cannot be parsed', 'export function ring() {', 'Unexpected end of input'],
    ])('linux-uring %s: libuv, and it says so', async (_, text, reason) => {
      const root = installed(...always, ...fallback, ...own)
      writeFileSync(join(root, 'node_modules/@kiruna/linux-uring/dist/ring.js'), text)
      await expectReason(root, reason)
    })

    test('linux-uring lacks something that it imports: libuv, and it says what', async () => {
      const root = installed(...always, ...fallback, ...own)
      const ring = join(root, 'node_modules/@kiruna/linux-uring/dist/ring.js')
      writeFileSync(ring, `import 'missing-package'\nexport function ring() {}`)
      await expectReason(root, expect.stringContaining("Cannot find package 'missing-package'"))
    })

    test('nothing of Node’s fallback is loaded where it is not needed', async () => {
      const root = installed(...always, 'linux-seek', 'linux-stream', 'linux-uring', 'node-libuv')
      for (const name of own) {
        const built = join(packages, name, 'build')
        if (existsSync(built))
          cpSync(built, join(root, 'node_modules/@kiruna', name, 'build'), { recursive: true })
      }
      const { out, err } = await asUser(header + say, {}, root)
      expect({ out, err }).toEqual({ out: '{"name":"io_uring"}\ncontent\n', err: '' })
    })

    test('core works from a folder in which nothing else is', async () => {
      const root = installed('core', 'priority')
      mkdirSync(join(root, 'elsewhere'))
      const { code, out } = await asUser(
        `import { post } from '@kiruna/core'\npost('background', () => console.log('ran'))`,
        {},
        join(root, 'elsewhere'),
      )
      expect({ code, out }).toEqual({ code: 0, out: 'ran\n' })
    })
  })
})

describe.each([
  ['the OS’s own', {}],
  ['libuv', { KIRUNA_IO: 'libuv' }],
])('with %s', (_name, env) => {
  test('a read at a bare priority goes on at that priority', async () => {
    const out = await lines(
      `
      // A stream of user-visible jobs that lasts as long as the background read has not gone on: or a second.
      const end = performance.now() + 1000
      let going = true
      const job = () => { if (performance.now() < end && going) post('user-visible', job); else console.log('jobs end') }
      await seek.stat(path, 'background')
      job()
      await seek.readAll(path, 'background')
      going = false
      console.log('background goes on')`,
      env,
    )
    expect(out).toEqual(['jobs end', 'background goes on'])
  })

  test('a stream goes on at its priority as well, and writes what it reads', async () => {
    const out = await lines(
      `
      import { stream } from '@kiruna/core/io'
      const log = []
      const task = spawn('background', async scope => {
        const end = performance.now() + 300
        const job = () => { if (performance.now() < end) post('user-visible', job); else log.push('jobs end') }
        job()
        await using copy = stream.write(path + ' copy', scope)
        for await (const bytes of stream.read(path, scope)) await copy.write(bytes)
        log.push('goes on')
      })
      await task
      log.push(await stream.all(path + ' copy', 'user-blocking'))
      console.log(log.join(', '))`,
      env,
    )
    expect(out).toEqual(['jobs end, goes on, content'])
  })

  test('a cancelled task’s stream is rejected with its reason, and the next program gets the bytes', async () => {
    const out = await lines(
      `
      import { spawnSync } from 'node:child_process'
      import fs from 'node:fs'
      import { stream } from '@kiruna/core/io'
      const fifo = path + ' fifo ' + implementation().name
      spawnSync('mkfifo', [fifo])
      const fd = fs.openSync(fifo, fs.constants.O_RDWR)
      const task = spawn('background', async scope => {
        for await (const _ of stream.read(fd, scope)) throw new Error('nothing was written')
      })
      setTimeout(() => task.cancel('enough'), 20)
      await task.catch(reason => console.log(reason))
      fs.writeSync(fd, 'bytes')
      const buffer = Buffer.alloc(10)
      console.log(String(buffer.subarray(0, fs.readSync(fd, buffer))))`,
      env,
    )
    expect(out).toEqual(['enough', 'bytes'])
  })

  test('an urgent one does not wait for those jobs', async () => {
    const out = await lines(
      `
      const end = performance.now() + 1000
      let going = true
      const job = () => { if (performance.now() < end && going) post('user-visible', job); else console.log('jobs end') }
      job()
      await seek.readAll(path, 'user-blocking')
      going = false
      console.log('urgent goes on')`,
      env,
    )
    expect(out).toEqual(['urgent goes on', 'jobs end'])
  })

  test('of a batch of completions the most urgent is resumed first', async () => {
    const out = await lines(
      `
      const file = await seek.open(path, 'realtime')
      const log = []
      const ranks = ['background', 'user-visible', 'user-blocking', 'realtime', 'user-blocking', 'realtime']
      const read = async rank => {
        await file.read(Buffer.alloc(4), 0, rank)
        log.push(rank)
      }
      const all = Promise.all(ranks.map(read))
      const end = performance.now() + 100
      while (performance.now() < end); // all of them complete while this thread is busy
      await all
      await file.close()
      console.log(log.join(' '))`,
      env,
    )
    expect(out).toEqual(['realtime realtime user-blocking user-blocking user-visible background'])
  })

  test('a read on behalf of a task is resumed at its priority', async () => {
    const out = await lines(
      `
      const log = []
      const task = spawn('background', async scope => {
        const end = performance.now() + 300
        const job = () => { if (performance.now() < end) post('user-visible', job); else log.push('jobs end') }
        job()
        await seek.readAll(path, scope)
        log.push('goes on')
      })
      await task
      console.log(log.join(', '))`,
      env,
    )
    expect(out).toEqual(['jobs end, goes on'])
  })

  test('a paused task is not resumed until it is released', async () => {
    const out = await lines(
      `
      let pause
      const task = spawn('realtime', async scope => {
        const reading = seek.readAll(path, scope)
        pause = task.pause()
        console.log(String(await reading))
      })
      setTimeout(() => {
        console.log('still paused')
        pause[Symbol.dispose]()
      }, 100)
      await task`,
      env,
    )
    expect(out).toEqual(['still paused', 'content'])
  })

  test('a cancelled task’s read is rejected with its reason', async () => {
    const out = await lines(
      `
      const task = spawn('background', async scope => {
        const reading = seek.readAll(path, scope)
        task.cancel('enough')
        await reading.catch(reason => console.log('read: ' + reason))
        await seek.readAll(path, scope).catch(reason => console.log('next: ' + reason))
      })
      await task.catch(reason => console.log('task: ' + reason))`,
      env,
    )
    expect(out).toEqual(['read: enough', 'next: enough', 'task: enough'])
  })

  test('a paused task whose read is under way wakes when it is cancelled', async () => {
    const out = await lines(
      `
      const task = spawn('background', async scope => {
        const reading = seek.readAll(path, scope)
        task.pause()
        post('background', () => task.cancel('enough'))
        await reading.catch(() => {}) // unless it was quicker
        console.log('went on')
      })
      await task.catch(reason => console.log('task: ' + reason))`,
      env,
    )
    expect(out).toEqual(['went on', 'task: enough'])
  })

  test('a task that is raised while its read waits in the lane is admitted', async () => {
    const out = await lines(
      `
      import { lane } from '@kiruna/priority/lane'
      import { LaneEntry } from '@kiruna/priority/lane'
      // The lane is full for as long as this lasts.
      class Holder extends LaneEntry { asker = { priority: 'background' }; start() {} }
      const holders = Array.from({ length: 4 }, () => new Holder())
      for (const holder of holders) lane.enter(holder)
      let ended = false
      const task = spawn('background', async scope => {
        await seek.readAll(path, scope)
        ended = true
      })
      await new Promise(resolve => setTimeout(resolve, 100))
      console.log(ended)
      task.priority = 'user-blocking'
      await task
      console.log(ended)
      for (const holder of holders) lane.leave(holder)`,
      env,
    )
    expect(out).toEqual(['false', 'true'])
  })

  test('a file is replaced on behalf of a task, whose cancelling leaves the old one', async () => {
    const out = await lines(
      `
      import { readdirSync, readFileSync } from 'node:fs'
      import { dirname } from 'node:path'
      const target = path + '.written'
      const content = Buffer.alloc(1000000, 'n')
      await spawn('background', async scope => {
        await seek.writeAll(target, 'old', scope)
        const file = await seek.open(target, scope, { flags: 'r+' })
        await file.write(Buffer.from('OLD'), 0, scope)
        await file.sync(scope)
        await file.truncate(2, scope)
        await file.close()
      })
      console.log(readFileSync(target, 'utf8'))
      let asked = 0
      const task = spawn('background', scope => seek.writeAll(target, (async function* () {
        for (;; asked++) {
          yield content
          if (asked === 3) task.cancel()
        }
      })(), scope))
      await task.catch(error => console.log(error.name))
      const temporary = readdirSync(dirname(target)).filter(name => name.startsWith('.'))
      console.log(readFileSync(target, 'utf8'), temporary.length)`,
      env,
    )
    expect(out).toEqual(['OL', 'AbortError', 'OL 0'])
  })

  test('reads in flight keep the process alive, and nothing else does', async () => {
    const out = await lines(
      `
      seek.readAll(path, 'background').then(bytes => console.log(String(bytes)))
      process.on('exit', () => console.log('end'))`,
      env,
    )
    expect(out).toEqual(['content', 'end'])
  })
})
