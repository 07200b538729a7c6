import { execFileSync, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { map } from './mmap.ts'

const MiB = 1024 * 1024
let folder = ''
let path = ''

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-unmappable-'))
  path = join(folder, 'file')
  fs.writeFileSync(path, Buffer.alloc(MiB + 5))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

describe('what cannot be mapped', () => {
  test.each([
    ['a folder', () => folder, 'seek.readdir'],
    ['a device', () => '/dev/null', 'stream.read'],
    ['a file of /proc', () => '/proc/version', 'seek.readAll'],
    ['a file of /sys', () => '/sys/kernel/mm/transparent_hugepage/enabled', 'seek.readAll'],
  ])('%s: an error that says what to use', async (_, name, instead) => {
    if (!fs.existsSync(name())) return
    const error = await map(name(), 'user-blocking').catch(error => error)
    expect(error).toMatchObject({ code: 'ENODEV', errno: -19, syscall: 'mmap', path: name() })
    expect(error.message).toContain(instead)
  })

  test('a FIFO: an error, without a word to its writer', async () => {
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
      errno: -2,
      path: join(folder, 'nope'),
    })
  })

  test('more than the process may have open, or has addresses for: EMFILE, ENOMEM', async () => {
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
  })

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
