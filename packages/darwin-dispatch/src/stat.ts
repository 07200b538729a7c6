import { Dirent, Stats } from 'node:fs'

/** node:fs's own Stats, of the fields that calls.cc has found. */
export function statsOf(found: Buffer): Stats {
  const fields = new Float64Array(found.buffer, found.byteOffset, found.length / 8)
  const [dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks] = fields
  const [atimeMs, mtimeMs, ctimeMs, birthtimeMs] = fields.subarray(10)
  // Its constructor is deprecated; a Stats is its prototype's methods over these fields.
  return Object.assign(Object.create(Stats.prototype) as Stats, {
    dev,
    mode,
    nlink,
    uid,
    gid,
    rdev,
    blksize,
    ino,
    size,
    blocks,
    atimeMs,
    mtimeMs,
    ctimeMs,
    birthtimeMs,
    atime: dateOf(atimeMs!),
    mtime: dateOf(mtimeMs!),
    ctime: dateOf(ctimeMs!),
    birthtime: dateOf(birthtimeMs!),
  })
}

/** A Date has whole milliseconds: node:fs rounds so. */
function dateOf(timeMs: number): Date {
  return new Date(Math.round(timeMs))
}

// A Dirent's kind is behind a symbol, and only its constructor sets it: node:fs's own is called with what it is
// called with there (lib/internal/fs/utils.js, the same in Node 20, 22 and 24). The kinds are libuv's.
const NodeDirent = Dirent as unknown as new (name: string, kind: number, folder: string | Buffer) => Dirent
/** dirent(5)'s DT_FIFO, DT_CHR, DT_DIR, DT_BLK, DT_REG, DT_LNK, DT_SOCK as uv_dirent_type_t */
const kinds = new Map([
  [1, 4],
  [2, 6],
  [4, 2],
  [6, 7],
  [8, 1],
  [10, 3],
  [12, 5],
])

/** The entries of a folder, sorted by name as node:fs has them: of each its kind, and its name with a 0 behind. */
export function direntsOf(found: Buffer, folder: string | Buffer): Dirent[] {
  const entries: Buffer[] = []
  for (let at = 0; at < found.length; ) {
    const end = found.indexOf(0, at + 1)
    entries.push(found.subarray(at, end))
    at = end + 1
  }
  entries.sort((a, b) => Buffer.compare(a.subarray(1), b.subarray(1)))
  return entries.map(entry => new NodeDirent(entry.toString('utf8', 1), kinds.get(entry[0]!) ?? 0, folder))
}
