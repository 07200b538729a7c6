import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HalfReport, Report } from '../src/report.ts'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
/** Root reads everything: permissions are tried as nobody. */
const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}

interface Ended {
  code: number
  stdout: string
  stderr: string
}

function run(
  args: string[],
  options: { env?: NodeJS.ProcessEnv; uid?: number; gid?: number } = {},
): Promise<Ended> {
  const env = { ...process.env, KIRUNA_IO: '', NODE_OPTIONS: '', ...options.env }
  return new Promise(resolve => {
    execFile(process.execPath, [main, ...args], { ...options, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

async function reportOf(args: string[], options?: Parameters<typeof run>[1]): Promise<Report> {
  const { code, stdout, stderr } = await run([...args, '--json'], options)
  expect(stderr).not.toContain('frame-loop:')
  expect(code).toBe(0)
  return JSON.parse(stdout)
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'frame-loop-'))
  await chmod(folder, 0o755)
  await mkdir(join(folder, 'some/deeper'), { recursive: true })
  await mkdir(join(folder, 'empty'))
  for (let i = 0; i < 200; i++) {
    await writeFile(join(folder, i % 2 ? 'some' : 'some/deeper', `${i}.txt`), `file ${i} `.repeat(i * 10))
  }
  await writeFile(join(folder, 'binary'), Buffer.alloc(100_000))
  await symlink('nowhere', join(folder, 'dangling'))
  await symlink(folder, join(folder, 'circle'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('a real folder', () => {
  test.each([undefined, 'libuv'])('gives equal indexes and sane numbers, KIRUNA_IO=%s', async KIRUNA_IO => {
    const env = KIRUNA_IO === undefined ? {} : { KIRUNA_IO }
    const report = await reportOf([folder, '--seconds', '1'], { env })
    expect(report.folder).toMatchObject({ path: folder, files: 201, foldersFailed: 0 })
    expect(report.indexes).toMatchObject({ equal: true, compared: 201, leftOut: 0, words: 200 })
    if (KIRUNA_IO) expect(report.implementation).toEqual({ name: 'libuv', reason: 'KIRUNA_IO=libuv' })
    for (const half of [report.naive, report.kiruna]) expectSane(half)
    expect(report.ratios.filesPerSecond).toBeCloseTo(
      report.kiruna.files.perSecond / report.naive.files.perSecond,
    )
  })

  test('gives a table of at most 80 columns', async () => {
    const { code, stdout, stderr } = await run([folder, '--seconds', '0.2'])
    expect(code).toBe(0)
    expect(stderr.trim().split('\n')).toHaveLength(3) // a line for each phase
    expect(stdout).toContain('Frame lateness (60 Hz)')
    expect(stdout).toContain('The indexes are equal: 201 files, 200 words.')
    expect(stdout + stderr).not.toContain('\x1b')
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  })
})

function expectSane({ elapsedMs, frames, opens, files, bytesPerSecond, gc }: HalfReport): void {
  expect(elapsedMs).toBeGreaterThanOrEqual(1000)
  expect(frames.due).toBeGreaterThan(0)
  expect(frames.due).toBeLessThanOrEqual(elapsedMs / (1000 / 60) + 1)
  expect(frames.missed).toBeLessThanOrEqual(frames.due)
  for (const { p50, p99, max } of [frames.latenessMs, opens.latencyMs]) {
    expect(p50).toBeGreaterThanOrEqual(0)
    expect(p99).toBeGreaterThanOrEqual(p50)
    expect(max).toBeGreaterThanOrEqual(p99)
    expect(max).toBeLessThan(elapsedMs)
  }
  expect(opens.done).toBeGreaterThan(0)
  expect(opens.done).toBeLessThanOrEqual(elapsedMs / 50)
  expect(opens.failed).toBe(0)
  expect(files.read).toBeGreaterThanOrEqual(files.passes * 201)
  expect(files.passes).toBeGreaterThan(0)
  expect(files.failed).toBe(0)
  expect(bytesPerSecond).toBeGreaterThan(0)
  expect(gc.longestMs).toBeLessThanOrEqual(gc.totalMs)
}

describe('what cannot be read', () => {
  test('a file is counted and left out of the comparison', async () => {
    const secret = join(folder, 'secret.txt')
    await writeFile(secret, 'not for everybody')
    await chmod(secret, 0)
    const report = await reportOf([folder, '--seconds', '0.2'], nobody)
    await rm(secret)
    expect(report.indexes).toMatchObject({ equal: true, compared: 201, leftOut: 1 })
    expect(report.naive.files.failed).toBeGreaterThan(0)
    expect(report.kiruna.files.failed).toBeGreaterThan(0)
  })

  test('a folder in the folder is counted', async () => {
    await chmod(join(folder, 'empty'), 0)
    const report = await reportOf([folder, '--seconds', '0.2'], nobody)
    await chmod(join(folder, 'empty'), 0o755)
    expect(report.folder.foldersFailed).toBe(1)
  })

  test('the folder itself is an error', async () => {
    const closed = join(folder, 'empty')
    await chmod(closed, 0)
    const ended = await run([closed], nobody)
    await chmod(closed, 0o755)
    expect(ended).toEqual({
      code: 1,
      stdout: '',
      stderr: `frame-loop: ${closed} cannot be read: permission denied\n`,
    })
  })
})

describe('one clear line and exit code 1', () => {
  test.each([
    [['/no/such/folder'], 'there is no folder /no/such/folder'],
    [[''], "there is no folder ''"],
    [[main], `${main} is not a folder`],
    [['.', '..'], 'give one folder at most (--help tells more)'],
    [['--fast'], "Unknown option '--fast' (--help tells more)"],
    [['--seconds', '0'], "--seconds takes a number from 0.1 to 3600, not '0'"],
    [['--seconds', 'many'], "--seconds takes a number from 0.1 to 3600, not 'many'"],
    [['--seconds'], "Option '--seconds <value>' argument missing (--help tells more)"],
    [['--json=yes'], "Option '--json' does not take an argument (--help tells more)"],
  ])('%j', async (args, line) => {
    expect(await run(args)).toEqual({ code: 1, stdout: '', stderr: `frame-loop: ${line}\n` })
  })

  test('a folder without files', async () => {
    const empty = join(folder, 'empty')
    expect(await run([empty, '--json'])).toEqual({
      code: 1,
      stdout: '',
      stderr: `frame-loop: ${empty} has no files to index\n`,
    })
  })
})

test('--help tells the options', async () => {
  const { code, stdout, stderr } = await run(['--help'])
  expect(code).toBe(0)
  expect(stderr).toBe('')
  for (const option of ['folder', '--seconds', '--json', '--help']) expect(stdout).toContain(option)
})
