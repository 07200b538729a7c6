import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, skipIf, test } from './runner.test-support.ts'

const mmapUrl = new URL('../dist/mmap.js', import.meta.url).href

/**
 * A seccomp filter, as a container's, that makes calls fail as an older kernel or another file system would:
 * madvise with MADV_POPULATE_READ (Linux 5.14), preadv2, fallocate and sync_file_range.
 */
const forbid = `
import ctypes, errno, os, struct, sys
def step(code, jump_true, jump_false, value): return struct.pack('HBBI', code, jump_true, jump_false, value)
def fail(number, error): return step(0x15, 0, 1, number) + step(0x06, 0, 0, 0x00050000 | error)
program = step(0x20, 0, 0, 0)
program += fail(327, errno.EOPNOTSUPP) + fail(285, errno.EOPNOTSUPP) + fail(277, errno.ENOSYS)
program += step(0x15, 0, 3, 28) + step(0x20, 0, 0, 32) + step(0x15, 0, 1, 22) + step(0x06, 0, 0, 0x00050000 | errno.EINVAL)
program += step(0x06, 0, 0, 0x7fff0000)
steps = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('steps', ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, ctypes.addressof(steps)))):
    sys.exit('seccomp: ' + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])`

// The numbers above are those of x86-64.
const isThere = process.platform === 'linux' && process.arch === 'x64'
skipIf(!isThere, 'older kernels: the filter is for Linux on x86-64').describe(
  'without MADV_POPULATE_READ, preadv2, fallocate and sync_file_range',
  () => {
    let folder = ''
    let path = ''
    beforeAll(() => {
      folder = fs.mkdtempSync(join(tmpdir(), 'kiruna-older-'))
      path = join(folder, 'file')
      fs.writeFileSync(path, Buffer.alloc(4_000_000, 1))
    })
    afterAll(() => fs.rmSync(folder, { recursive: true }))

    function node(code: string): string {
      const program = `
      import * as fs from 'node:fs'
      import { map } from ${JSON.stringify(mmapUrl)}
      const path = ${JSON.stringify(path)}
      ${code}`
      const args = ['-c', forbid, process.execPath, '--input-type=module', '-e', program]
      const { stdout, stderr } = spawnSync('python3', args, { encoding: 'utf8' })
      expect(stderr).toBe('')
      return stdout
    }

    test('prefault, read, write, sync and resize do what they do', () => {
      const out = node(`
      const mapping = await map(path, 'user-blocking', { access: 'read-write' })
      await mapping.prefault(0, 3_000_000, 'background')
      const rss = fs.readFileSync('/proc/self/smaps', 'latin1').split(path)[1].match(/Rss: +(\\d+)/)[1]
      console.log(rss >= 2929)
      console.log((await mapping.read(100, 1000, 'background')).equals(Buffer.alloc(1000, 1)))
      mapping.write(5, Buffer.from('hello'))
      await mapping.sync('background')
      await mapping.resize(5_000_000, 'background')
      mapping.view(4_999_999)[0] = 7
      await mapping.sync('user-visible')
      const content = fs.readFileSync(path)
      console.log(String(content.subarray(5, 10)), content.length, content[4_999_999])`)
      expect(out).toBe('true\ntrue\nhello 5000000 7\n')
    })

    test('a truncated file is an error of prefault all the same, and no more than that', () => {
      const out = node(`
      const mapping = await map(path, 'user-blocking')
      fs.truncateSync(path, 100)
      await mapping.prefault(0, mapping.byteLength, 'background').catch(error => console.log(error.code))
      console.log(mapping.torn, mapping.view()[99], mapping.view()[100_000])`)
      expect(out).toBe('ERR_KIRUNA_TORN\ntrue 1 0\n')
    })
  },
)
