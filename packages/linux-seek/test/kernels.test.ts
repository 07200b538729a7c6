// Kernels older than this one, kernels and containers that forbid io_uring, and what is said about them.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { release, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { passes } from '../../../contract/src/node-test.test-support.ts'
import { addon } from '../../../scripts/addons.mjs'

const source = dirname(fileURLToPath(import.meta.url))
const packages = dirname(dirname(source))
const seekUrl = new URL('../dist/seek.js', import.meta.url).href
const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-kernels-'))
/** By LD_PRELOAD: answers as an older kernel. */
const oldKernel = join(folder, 'old-kernel.so')
const preload = [process.env.LD_PRELOAD, oldKernel].filter(Boolean).join(':') // `npm run test:asan` has one too

beforeAll(() => {
  compile('cc', '-shared', '-fPIC', '-O1', '-o', oldKernel, join(source, 'old-kernel.c'))
  for (const name of ['fifo', 'wide']) execFileSync('mkfifo', [join(folder, name)])
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** There is a compiler: without one these tests would have no addon. */
function compile(compiler: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(compiler, args, { encoding: 'utf8' })
  expect({ status, stderr, error }).toEqual({ status: 0, stderr: '', error: undefined })
}

interface Ending {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs Node with `env` added to the environment, by way of the command `wrapper`. */
function node(args: string[], { env = {}, wrapper = [] as string[], timeout = 50_000 } = {}) {
  const { NODE_OPTIONS: _, ...inherited } = process.env
  return new Promise<Ending>((resolve, reject) => {
    const [command, ...rest] = [...wrapper, process.execPath, ...args]
    const child = spawn(command!, rest, {
      env: { ...inherited, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout,
      killSignal: 'SIGKILL',
    })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const)
      child[name].setEncoding('utf8').on('data', text => {
        output[name] += text
      })
    child.on('error', reject).on('close', code => resolve({ code, ...output }))
  })
}

/** What a ring of ours has mapped on this machine's own kernel. */
const [major, minor] = release().split('.').map(Number) as [number, number]
const ringMappings = major < 6 || (major === 6 && minor < 5) ? 2 : 0

type Options = Parameters<typeof node>[1]

/** Runs a module with the built `seek`, `fs`, `folder` and `rings`: what /proc/self/maps has of ours. */
function run(program: string, options: Options = {}, from = seekUrl): Promise<Ending> {
  const header = `
    import fs from 'node:fs'
    import { Worker } from 'node:worker_threads'
    const folder = ${JSON.stringify(folder)}
    // libuv has rings too, but never mapped a part of one page alone.
    const rings = () => fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').filter(line => {
      const [from, to] = line.split(' ')[0].split('-').map(address => Number('0x' + address))
      return line.includes('io_uring') && to - from === 4096
    })
    const seekUrl = ${JSON.stringify(from)}
    const seek = await import(seekUrl)
    `
  return node(['--expose-gc', '--input-type=module', '-e', header + program], options)
}

/** What a program sees that uses linux-uring alone, twice: readdir needs no ring. */
const report = `
  for (let i = 0; i < 2; i++) {
    const told = await Promise.allSettled([
      seek.open('/proc/version', 'realtime'),
      seek.readAll('/proc/version', 'background'),
      seek.stat('/proc/version', 'realtime'),
    ])
    for (const { status, reason } of told) console.log(status === 'fulfilled' ? status : reason.code + ': ' + reason.message)
    await seek.readdir(folder, 'realtime')
  }`

async function unavailable(options: Options, from = seekUrl): Promise<string> {
  const { code, stdout, stderr } = await run(report, options, from)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const lines = stdout.trim().split('\n')
  expect(lines.length).toBe(6)
  expect(new Set(lines).size).toBe(1)
  const [code_, ...reason] = lines[0]!.split(': ')
  expect(code_).toBe('ERR_KIRUNA_UNAVAILABLE')
  return reason.join(': ')
}

/** The whole contract, under `node --test`. */
const expectContract = (env: Record<string, string>) => passes('seek.node-test.ts', '@kiruna/linux-seek', env)

/** As an older kernel would answer: `601` is Linux 6.1. */
const kernel = (version: number) => ({ LD_PRELOAD: preload, KERNEL: String(version) })

describe('before Linux 6.5 the ring is in memory of the kernel', () => {
  test('and from then on in memory of ours', async () => {
    const program = `await seek.stat('.', 'realtime'); console.log(rings().length)`
    expect(await run(program)).toEqual({ code: 0, stdout: `${ringMappings}\n`, stderr: '' })
    expect(await run(program, { env: kernel(601) })).toEqual({ code: 0, stdout: '2\n', stderr: '' })
  })

  test('the contract of seek holds', { timeout: 60_000 }, () => expectContract(kernel(601)))

  test('ten thousand reads in flight, and as many of a file: none is lost, each has its bytes', async () => {
    const { stdout, stderr } = await run(
      `const pipe = await seek.open(folder + '/wide', 'realtime', { flags: fs.constants.O_RDWR })
       const buffers = Array.from({ length: 10_000 }, () => Buffer.alloc(1))
       const reads = buffers.map(buffer => pipe.read(buffer, 0, 'user-blocking'))
       setTimeout(() => fs.writeSync(pipe.fd, Buffer.alloc(10_000, 7)), 50)
       console.log((await Promise.all(reads)).length, buffers.every(([byte]) => byte === 7))
       const content = Buffer.from(Uint8Array.from({ length: 50_000 }, (_, i) => i * 31 + (i >> 8)))
       fs.writeFileSync(folder + '/content', content)
       const file = await seek.open(folder + '/content', 'background')
       const read = Buffer.alloc(50_000)
       for (let i = 0; i < 20; i++) gc()
       await Promise.all(Array.from({ length: 10_000 }, (_, i) => file.read(read.subarray(i * 5, i * 5 + 5), i * 5, 'background')))
       console.log(read.equals(content), rings().length)`,
      { env: kernel(601) },
    )
    expect({ stdout, stderr }).toEqual({ stdout: '10000 true\ntrue 2\n', stderr: '' })
  })
})

test.each([
  ['in memory of ours', {}, ringMappings],
  ['mapped', kernel(601), 2],
])(
  'a hundred workers with rings %s, sixteen at a time, terminated with reads in flight: nothing of them stays',
  { timeout: 60_000 },
  async (_, env, mappings) => {
    const { stdout, stderr } = await run(
      `const fifo = folder + '/fifo'
       const one = async () => {
         while (left-- > 0) {
           const worker = new Worker(\`
             import('\${seekUrl}').then(async seek => {
               const pipe = await seek.open('\${fifo}', 'realtime', { flags: \${fs.constants.O_RDWR} })
               for (let i = 0; i < 20; i++) pipe.read(Buffer.alloc(i % 2 ? 10 : 100_000), 0, 'realtime')
               setTimeout(() => process.getBuiltinModule('worker_threads').parentPort.postMessage(0), 2)
             })\`, { eval: true })
           await new Promise(resolve => worker.once('message', resolve))
           most = Math.max(most, fds())
           await worker.terminate()
         }
       }
       const fds = () => fs.readdirSync('/proc/self/fd').length
       let [left, most] = [16, 0]
       await seek.stat(fifo, 'realtime')
       await Promise.all(Array.from({ length: 16 }, one))
       const before = fds()
       left = 100
       await Promise.all(Array.from({ length: 16 }, one))
       console.log(most - before > 16, rings().length, fds() - before)`,
      { env },
    )
    expect({ stdout, stderr }).toEqual({ stdout: `true ${mappings} 0\n`, stderr: '' })
  },
)

describe('where external buffers are forbidden, as in Electron', () => {
  /** An environment in which the addon is another, that cannot make any. */
  function caged(): Record<string, string> {
    const caged = join(folder, 'caged.node')
    const preload = join(folder, 'cage.cjs')
    if (!fs.existsSync(caged)) {
      const { flags, sources } = addon('linux-uring', 'linux')
      const cage = ['-DNODE_API_NO_EXTERNAL_BUFFERS_ALLOWED', '-O1', '-shared', '-fPIC']
      compile('c++', ...flags, ...cage, '-o', caged, ...sources)
      fs.writeFileSync(
        preload,
        `const { dlopen } = process
         process.dlopen = (module, file, ...rest) =>
           dlopen(module, file.endsWith('uring.node') ? ${JSON.stringify(caged)} : file, ...rest)`,
      )
    }
    return { NODE_OPTIONS: `--require=${preload}` }
  }

  test('the contract of seek holds: the ring needs none', { timeout: 60_000 }, () => expectContract(caged()))

  test('before Linux 6.5: unavailable, and it says so', async () => {
    expect(await unavailable({ env: { ...caged(), ...kernel(601) } })).toMatch(
      /^ENOTSUP: .*, napi_create_external_arraybuffer \(Linux before 6\.5, this is .+, needs external buffers, and they/,
    )
  })
})

describe('ERR_KIRUNA_UNAVAILABLE says why', () => {
  test('no addon', async () => {
    const copy = join(folder, 'without-addon/node_modules/@kiruna')
    for (const name of ['fs-seek', 'linux-seek', 'linux-uring', 'node-libuv', 'priority']) {
      for (const part of ['dist', 'package.json']) {
        fs.cpSync(join(packages, name, part), join(copy, name, part), { recursive: true })
      }
    }
    expect(await unavailable({}, join(copy, 'linux-seek/dist/seek.js'))).toBe(
      `@kiruna/linux-uring has no addon for ${process.platform} on ${process.arch}`,
    )
  })

  const [setup, register] = [425, 427] // the same numbers on every architecture
  const forbid = (errno: number, call: number) => ({
    wrapper: ['python3', join(source, 'forbid.py'), String(errno), String(call)],
  })

  test.each([
    ['EPERM', 1, 'io_uring_setup', setup, / \(a seccomp filter forbids it, .*\)/],
    ['ENOSYS', 38, 'io_uring_setup', setup, ''],
    ['ENOMEM', 12, 'io_uring_setup', setup, / \(each thread has a ring, .* `ulimit -l`\)/],
    ['EPERM', 1, 'io_uring_register', register, / \(a seccomp filter forbids it, .*\)/],
    ['ENOSYS', 38, 'io_uring_register', register, ''],
  ])('%s (%i) from %s', async (name, errno, callName, call, hint) => {
    const expected = new RegExp(`^${name}: .*, ${callName}${hint === '' ? '' : (hint as RegExp).source}$`)
    expect(await unavailable(forbid(errno, call))).toMatch(expected)
  })

  test('the sysctl forbids it', async context => {
    // The real one would forbid it to the whole machine: this process sees a file of ours in its place.
    const sysctl = join(folder, 'io_uring_disabled')
    fs.writeFileSync(sysctl, '2\n')
    const mount = `mount --bind ${sysctl} /proc/sys/kernel/io_uring_disabled && exec "$@"`
    const unshare = ['unshare', '--mount', 'sh', '-c', mount, 'sh']
    const tried = spawnSync(unshare[0]!, [...unshare.slice(1), 'true'], { encoding: 'utf8' })
    if (tried.status !== 0) {
      const reason = `no mount namespace: ${tried.error?.message ?? tried.stderr}`
      console.log(`skipped: ${reason}`)
      return context.skip(reason)
    }
    const { wrapper } = forbid(1, setup)
    expect(await unavailable({ wrapper: [...unshare, ...wrapper] })).toMatch(
      /^EPERM: .*, io_uring_setup \(sysctl kernel\.io_uring_disabled=2\)$/,
    )
  })

  test.each([
    ['5.19', 519],
    ['5.15', 515],
  ])('Linux %s', async (_, version) => {
    expect(await unavailable({ env: kernel(version) })).toMatch(
      /^EINVAL: .*, io_uring_setup \(Linux 6\.0 or later is needed, this is .+\)$/,
    )
  })

  test.each([
    ['IORING_OP_READ', 22],
    ['IORING_OP_STATX', 21],
    ['IORING_OP_NOP', 0],
  ])('a kernel without %s', async (name, opcode) => {
    const env = { LD_PRELOAD: preload, NO_OPCODE: String(opcode) }
    expect(await unavailable({ env })).toBe(`ENOSYS: function not implemented, ${name}`)
  })

  test('no fd is left; the next call tries again', async () => {
    const { stdout, stderr } = await run(
      `const { loadNative } = await import(seekUrl.replace('linux-seek/dist/seek', 'linux-uring/dist/native'))
       loadNative()
       const fds = []
       try { for (;;) fds.push(fs.openSync('/dev/null')) } catch (error) { console.log(error.code) }
       await seek.readAll('/proc/version', 'realtime').catch(error => console.log(error.code, error.message))
       for (const fd of fds) fs.closeSync(fd)
       console.log((await seek.readAll('/proc/version', 'realtime')).length > 0)`,
      { wrapper: ['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'] },
    )
    expect(stderr).toBe('')
    expect(stdout.split('\n')).toEqual([
      'EMFILE',
      'ERR_KIRUNA_UNAVAILABLE EMFILE: too many open files, io_uring_setup',
      'true',
      '',
    ])
  })
})
