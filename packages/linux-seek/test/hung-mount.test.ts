import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { stuckDisk } from './stuck-disk.test-support.ts'

test('reads of a mount that hangs hold up neither other disks nor, once they are given up, calls by path', context => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-hung-'))
  const mountpoint = join(folder, 'stuck')
  fs.mkdirSync(mountpoint)
  fs.writeFileSync(join(folder, 'good'), 'good')
  const { wrapper, unavailable } = stuckDisk(mountpoint, 5)
  if (unavailable !== undefined) {
    fs.rmSync(folder, { recursive: true })
    return context.skip(unavailable)
  }
  const program = `
    import * as seek from ${JSON.stringify(new URL('../dist/seek.js', import.meta.url).href)}
    const [stuck, good] = ${JSON.stringify([join(mountpoint, 'file'), join(folder, 'good')])}
    const [hung, file] = [await seek.open(stuck, 'background'), await seek.open(good, 'background')]
    const ignored = () => {}
    // Large ones, which are left to the kernel's threads.
    for (let i = 0; i < 6; i++) hung.read(Buffer.alloc(200_000), 0, 'background').catch(ignored)
    console.log(await file.read(Buffer.alloc(4), 0, 'background'))
    console.log(String(await seek.readAll(good, 'background')))
    const timedOut = { priority: 'background', signal: AbortSignal.timeout(50) }
    const told = await Promise.allSettled(Array.from({ length: 6 }, () => seek.readAll(stuck, timedOut)))
    console.log(told.map(({ reason }) => reason?.name).join())
    console.log(String(await seek.readAll(good, 'background')))
    process.exit()`
  const [command, ...rest] = wrapper
  const { stdout, stderr } = spawnSync(
    command,
    [...rest, process.execPath, '--input-type=module', '-e', program],
    { encoding: 'utf8', timeout: 20_000 },
  )
  fs.rmSync(folder, { recursive: true })
  expect(stderr).toBe('')
  expect(stdout).toBe(`4\ngood\n${Array(6).fill('TimeoutError').join()}\ngood\n`)
})
