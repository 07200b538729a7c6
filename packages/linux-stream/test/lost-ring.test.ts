import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runModule } from '../../../contract/src/child.ts'

const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)

test('a ring that is lost ends what is in flight with the reason, and what comes later too; nothing hangs', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kiruna-'))
  execFileSync('mkfifo', [join(folder, 'fifo')])
  const preload = join(folder, 'preload.so')
  execFileSync('cc', ['-shared', '-fPIC', '-o', preload, new URL('lost-ring.c', import.meta.url).pathname])
  const { code, stdout, stderr } = await runModule(
    folder,
    `import * as fs from 'node:fs'
     import * as seek from ${url('../../linux-seek/dist/seek.js')}
     import * as stream from ${url('../dist/stream.js')}
     const told = error => console.log(error.code, error.syscall ?? error.message)
     const rings = () => fs.readdirSync('/proc/self/fd').filter(fd => {
       try {
         return fs.readlinkSync('/proc/self/fd/' + fd) === 'anon_inode:[io_uring]'
       } catch {}
     })
     const others = rings() // libuv's
     const pipe = fs.openSync('fifo', fs.constants.O_RDWR)
     const waiting = stream.read(pipe, 'background').next().then(console.log, told)
     const file = await seek.open('/etc/hostname', 'background')
     fs.writeFileSync('lost', rings().find(fd => !others.includes(fd)))
     const reads = Array.from({ length: 9 }, () => seek.readAll('/etc/hostname', 'background'))
     for (const { reason } of await Promise.allSettled(reads)) told(reason)
     await waiting
     await file.read(Buffer.alloc(10), 0, 'realtime').then(console.log, told)
     await file.close()
     await (async () => stream.write('other', 'background').write('x'))().then(console.log, told)`,
    { wrapper: ['env', `LD_PRELOAD=${preload}`, `KIRUNA_LOST_RING=${join(folder, 'lost')}`] },
  )
  rmSync(folder, { recursive: true })
  expect(stderr).toBe('')
  const lost = 'ERR_KIRUNA_UNAVAILABLE the ring is lost (EPERM: operation not permitted, io_uring_enter)'
  expect(stdout.trimEnd().split('\n')).toEqual([
    'EPERM read',
    ...Array(3).fill('EPERM open'),
    ...Array(6).fill(lost),
    lost,
    lost,
  ])
  expect(code).toBe(0)
})
