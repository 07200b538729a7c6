import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { fuseDevicesIn, loadNative } from '../../linux-uring/dist/native.js'
import { stuckDisk } from './stuck-disk.test-support.ts'

test('the devices of FUSE, whatever it calls itself, are told from all others', () => {
  const mountinfo = [
    '23 28 0:6 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=8147340k,mode=755',
    '28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro',
    '31 24 0:27 / /sys/fs/fuse/connections rw shared:13 - fusectl fusectl rw',
    '36 28 0:52 / /home/me/far rw,nosuid,nodev shared:300 - fuse.sshfs host: rw,user_id=1000',
    '37 28 8:17 / /media/stick rw,nosuid shared:301 master:4 - fuseblk /dev/sdb1 rw,user_id=0',
    '38 28 0:300 / /shared rw - virtiofs tag rw',
    '39 28 0:54 / /mnt/\\040-\\040fuse\\040 rw - fuse plain rw',
    '40 28 0:55 / /mnt/\\040-\\040fuse.x\\040 rw shared:9 - tmpfs tmpfs rw',
    '41 28 0:56 / /mnt/nfs rw shared:10 - nfs4 fuse:/fuse rw,addr=::1',
    '42 28 0:57 / /mnt/odd rw - tmpfs - fuse x rw',
    '',
  ].join('\n')
  // makedev(3): the minor's low byte, then the major, then the rest of the minor
  expect([...fuseDevicesIn(mountinfo)]).toEqual([52, 8 * 256 + 17, (300 & 0xff) + 2 ** 20, 54])
})

test('the device of an fd is what fstat says', () => {
  const { device } = loadNative()
  for (const path of ['/', '/proc/self/stat', '/dev/null']) {
    const fd = fs.openSync(path, 'r')
    expect(device(fd)).toBe(fs.fstatSync(fd).dev)
    fs.closeSync(fd)
  }
  expect(device(-1)).toBe(-9) // EBADF
})

const folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-mounts-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))
const disk = join(folder, 'disk')
const beside = join(folder, 'beside')
fs.mkdirSync(disk)
fs.writeFileSync(beside, 'beside')
/** So long the disk does not answer, unless it is told to. */
const seconds = 5
const { wrapper, unavailable } = stuckDisk(disk, seconds)

test.skipIf(unavailable !== undefined).concurrent.each([
  ['a small read', "(await seek.open(disk + '/file', 'realtime')).read(Buffer.alloc(10), 0, 'realtime')"],
  [
    'a small write',
    "(await seek.open(disk + '/file', 'realtime', { flags: 'r+' })).write(Buffer.alloc(10), 0, 'realtime')",
  ],
  ['a readAll', "seek.readAll(disk + '/file', 'realtime')"],
  ['a writeAll', "seek.writeAll(disk + '/file', 'some', 'realtime', { atomic: false })"],
  ['a stream', "stream.read(disk + '/file', 'realtime').next()"],
  ['a stream of an fd', "stream.read(fs.openSync(disk + '/file'), 'realtime').next()"],
  ['a write to a stream', "stream.write(disk + '/file', 'realtime', { flags: 'r+' }).write('some')"],
  [
    'a write to a stream of an fd',
    "stream.write(fs.openSync(disk + '/file', 'r+'), 'realtime').write('some')",
  ],
  // Once the kernel knows the name, it does not leave the open to a thread of its own.
  ['an open', "(await seek.stat(disk + '/open', 'realtime'), seek.open(disk + '/open', 'realtime'))"],
  ['a stat', "(await seek.open(disk + '/fstat', 'realtime')).stat('realtime')"],
])('%s on a FUSE disk that does not answer leaves the thread to others', async (_, work) => {
  const { stdout, stderr } = await run(wrapper, work)
  expect({ stdout, stderr }).toEqual({ stdout: 'true EIO\n', stderr: '' })
})

test.skipIf(unavailable !== undefined).concurrent('a disk that is mounted later is noticed', async () => {
  const [command, mount, ...stuck] = wrapper
  const work = `{
    const { spawn } = require('node:child_process')
    rounds = Infinity
    await seek.readAll(beside, 'realtime')
    const mounted = spawn('${stuck[0]}', [...${JSON.stringify(stuck.slice(1))}, 'sh', '-c', 'echo; sleep 5'])
    await require('node:events').once(mounted.stdout, 'data')
    await sleep(1100)
    const file = await seek.open(disk + '/file', 'realtime')
    server = mounted.pid
    startMs = performance.now()
    rounds = 20
    await file.read(Buffer.alloc(10), 0, 'realtime').finally(() => mounted.kill())
  }`
  const { stdout, stderr } = await run([command, mount!], work)
  expect({ stdout, stderr }).toEqual({ stdout: 'true EIO\n', stderr: '' })
})

/**
 * Does `work`, and meanwhile reads another file twenty times. Prints whether it did so before the disk can have answered
 * for the first time, and the outcome.
 */
function run(
  [command, ...rest]: [string, ...string[]],
  work: string,
): Promise<{ stdout: string; stderr: string }> {
  const program = `
    const fs = require('node:fs')
    const { setTimeout: sleep } = require('node:timers/promises')
    const [packages, disk, beside] = process.argv.slice(1)
    Promise.all(['seek', 'stream'].map(one => import(packages + 'linux-' + one + '/dist/' + one + '.js'))).then(async ([seek, stream]) => {
      let server = process.ppid
      let startMs = performance.now()
      let rounds = 20
      let isOver = false
      const outcome = (async () => ${work})().then(() => 'done', error => error.code)
      outcome.then(() => (isOver = true))
      while (rounds-- > 0) {
        await sleep(5)
        if ((await seek.readAll(beside, 'realtime')).toString() !== 'beside') throw new Error()
      }
      const wentOn = !isOver && performance.now() - startMs < ${seconds * 1000}
      process.kill(server, 'SIGUSR1')
      console.log(wentOn, await outcome)
    })`
  const packages = new URL('../../', import.meta.url).href
  const node = [process.execPath, '-e', program, packages, disk, beside]
  return promisify(execFile)(command, [...rest, ...node], { timeout: 60_000 })
}
