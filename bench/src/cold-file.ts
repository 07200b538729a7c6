import { execFileSync } from 'node:child_process'
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const MiB = 1024 * 1024

/** A file of so many bytes, on the disk, in the folder of this bench: /tmp may be memory. */
export function makeFile(name: string, lengthBytes: number): { path: string; [Symbol.dispose](): void } {
  const path = join(import.meta.dirname, `../${name}.tmp`)
  const fd = openSync(path, 'w')
  const block = Buffer.alloc(MiB, 'kiruna')
  for (let at = 0; at < lengthBytes; at += MiB) writeSync(fd, block, 0, Math.min(MiB, lengthBytes - at))
  fsyncSync(fd)
  closeSync(fd)
  return { path, [Symbol.dispose]: () => rmSync(path) }
}

/**
 * Takes the file's pages out of memory. Node has no call for it; those that are mapped stay.
 * @see posix_fadvise(2), POSIX_FADV_DONTNEED
 */
export function makeCold(path: string): void {
  const program =
    'import os,sys; os.posix_fadvise(os.open(sys.argv[1], os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)'
  execFileSync('python3', ['-c', program, path])
}
