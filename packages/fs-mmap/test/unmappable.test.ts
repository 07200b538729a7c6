import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errnoOf } from '@kiruna/priority/error'
import { map } from '../src/mmap.ts'
import { afterAll, beforeAll, describe, expect, onUnix, skipIf, test } from './runner.test-support.ts'

const MiB = 1024 * 1024
const isWindows = process.platform === 'win32'
let folder = ''
let path = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-unmappable-'))
  path = join(folder, 'file')
  fs.writeFileSync(path, Buffer.alloc(MiB + 5))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

describe('what cannot be mapped', () => {
  async function expectUnmappable(name: string, instead: string) {
    const error = await map(name, 'user-blocking').catch(error => error)
    expect(error).toMatchObject({ code: 'ENODEV', errno: errnoOf('ENODEV'), syscall: 'mmap', path: name })
    expect(error.message).toContain(instead)
  }

  test('a folder: an error that says what to use', () => expectUnmappable(folder, 'seek.readdir'))

  test('a device: an error that says what to use', () =>
    expectUnmappable(isWindows ? String.raw`\\.\NUL` : '/dev/null', 'stream.read'))

  skipIf(process.platform !== 'linux', 'only Linux has /proc and /sys').test.each([
    '/proc/version',
    '/sys/kernel/mm/transparent_hugepage/enabled',
  ])('%s: an error that says what to use', async name => {
    if (fs.existsSync(name)) await expectUnmappable(name, 'seek.readAll')
  })

  skipIf(!isWindows, 'elsewhere a pipe has no name').test(
    'a named pipe: an error, without a word to its server',
    async () => {
      const pipe = String.raw`\\.\pipe\kiruna-unmappable-${process.pid}`
      let connections = 0
      const server = createServer(socket => {
        connections++
        socket.destroy()
      })
      await new Promise<void>(resolve => server.listen(pipe, resolve))
      for (const path of [pipe, pipe.replace('.', '?')]) {
        const error = await map(path, 'user-blocking').catch(error => error)
        expect(error).toMatchObject({ code: 'ENODEV', path })
        expect(error.message).toContain('stream.read')
      }
      await new Promise(resolve => setTimeout(resolve, 50))
      server.close()
      expect(connections).toBe(0)
    },
  )

  onUnix('Windows has no FIFOs').test('a FIFO: an error, without a word to its writer', async () => {
    const fifo = join(folder, 'fifo')
    execFileSync('mkfifo', [fifo])
    const error = await map(fifo, 'user-blocking').catch(error => error)
    expect(error).toMatchObject({ code: 'ENODEV', path: fifo })
    expect(error.message).toContain('stream.read')
    const { O_WRONLY, O_NONBLOCK } = fs.constants
    expect(() => fs.openSync(fifo, O_WRONLY | O_NONBLOCK)).toThrow('ENXIO') // nobody has it open for reading
  })

  test('what is not there: ENOENT, as of any other call', async () => {
    await expect(map(join(folder, 'nope'), 'background')).rejects.toMatchObject({
      code: 'ENOENT',
      errno: errnoOf('ENOENT'),
      path: join(folder, 'nope'),
    })
  })

  onUnix('there is no such limit to set').test(
    'more than the process may have open, or has addresses for: EMFILE, ENOMEM',
    async () => {
      const huge = join(folder, 'huge')
      const truncated = spawnSync('truncate', ['-s', '15T', huge])
      const program = `
      import { map } from ${JSON.stringify(new URL('../dist/mmap.js', import.meta.url).href)}
      const [path, huge] = ${JSON.stringify([path, truncated.status === 0 ? huge : undefined])}
      const fill = async (name, mappings) => {
        for (;;) mappings.push(await map(name, 'background'))
      }
      const [hugeOnes, mappings] = [[], []]
      if (huge) await fill(huge, hugeOnes).catch(error => console.log(error.code, error.syscall, hugeOnes.length < 10))
      await fill(path, mappings).catch(error => console.log(error.code, error.syscall, mappings.length < 50))
      await Promise.all(mappings.map(mapping => mapping.close()))
      await (await map(path, 'background')).close()
      console.log('again')`
      const { stdout } = spawnSync(
        'sh',
        ['-c', 'ulimit -n 50; exec "$0" --input-type=module -e "$1"', process.execPath, program],
        { encoding: 'utf8' },
      )
      const lines = stdout.split('\n')
      if (truncated.status === 0) expect(lines.shift()).toBe('ENOMEM mmap true')
      expect(lines).toEqual(['EMFILE open true', 'again', ''])
    },
  )

  test('beyond the end of the file: what would be in range', async () => {
    await expect(map(path, 'background', { offsetBytes: MiB + 6 })).rejects.toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
      message: expect.stringContaining(`at most ${MiB + 5}`),
    })
    await expect(map(path, 'background', { offsetBytes: 5, lengthBytes: MiB + 1 })).rejects.toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
      message: expect.stringContaining(`at most ${MiB}`),
    })
  })
})
