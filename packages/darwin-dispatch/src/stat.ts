import { Stats } from 'node:fs'

/** node:fs's own Stats, from the fields that calls.cc gives. */
export function statsOf(status: Buffer): Stats {
  const fields = new Float64Array(status.buffer, status.byteOffset, status.length / 8)
  const [dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks] = fields
  const [atimeMs, mtimeMs, ctimeMs, birthtimeMs] = fields.subarray(10)
  const sizes = { dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks }
  const times = {
    ...{ atimeMs, mtimeMs, ctimeMs, birthtimeMs },
    atime: dateOf(atimeMs!),
    mtime: dateOf(mtimeMs!),
    ctime: dateOf(ctimeMs!),
    birthtime: dateOf(birthtimeMs!),
  }
  // The constructor of Stats is deprecated, so its prototype's methods are put over these fields.
  return Object.assign(Object.create(Stats.prototype) as Stats, sizes, times)
}

/** A Date has whole milliseconds: node:fs rounds like this. */
function dateOf(timeMs: number): Date {
  return new Date(Math.round(timeMs))
}
