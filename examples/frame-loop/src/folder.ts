import type { Stats } from 'node:fs'
import { type FileHandle, lstat, open, readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'

/** The user opens files of at most this. */
const openableBytes = 1024 * 1024
const readsAtOnce = 4

/** A folder that nothing can be shown on; the message is for the user. */
export class FolderError extends Error {}

export interface Folder {
  path: string
  /** Every regular file in it, sorted; symbolic links are not followed. */
  paths: string[]
  /** The folders in it that could not be listed. */
  foldersFailed: number
}

/** A folder whose files have all been read once. */
export interface WarmFolder extends Folder {
  bytes: number
  /** Those of at most 1 MiB; all of them if there is none. */
  openable: string[]
  /** What each was when it was read; undefined for one that could not be. */
  stats: (Stats | undefined)[]
}

/** @throws FolderError: missing, a file, unreadable, or without files */
export async function list(path: string): Promise<Folder> {
  const folder: Folder = { path: resolve(path), paths: [], foldersFailed: 0 }
  try {
    if (!(await stat(path)).isDirectory()) throw new FolderError(`${path} is not a folder`)
    await add(folder, folder.path, true)
  } catch (error) {
    throw error instanceof FolderError ? error : new FolderError(reasonOf(error, path))
  }
  if (folder.paths.length === 0) throw new FolderError(`${path} has no files to index`)
  folder.paths.sort()
  return folder
}

async function add(folder: Folder, path: string, isTop = false): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(error => {
    if (isTop) throw error
    folder.foldersFailed++
    return []
  })
  for (const entry of entries) {
    if (entry.isFile()) folder.paths.push(join(path, entry.name))
    else if (entry.isDirectory()) await add(folder, join(path, entry.name))
  }
}

function reasonOf(error: unknown, path: string): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return `there is no folder ${path === '' ? "''" : path}`
  if (code === 'EACCES' || code === 'EPERM') return `${path} cannot be read: permission denied`
  return message
}

/**
 * Reads every file once, so that the page cache has them for whoever comes first.
 * @param onProgress called with the share that has been read, from 0 to 1
 * @throws FolderError: none of them can be read
 */
export async function warmUp(folder: Folder, onProgress: (share: number) => void): Promise<WarmFolder> {
  const { paths } = folder
  const stats: (Stats | undefined)[] = new Array(paths.length).fill(undefined)
  let next = 0
  const reader = async () => {
    const buffer = Buffer.allocUnsafeSlow(256 * 1024)
    while (next < paths.length) {
      const i = next++
      stats[i] = await readOnce(paths[i]!, buffer).catch(() => undefined)
      onProgress(next / paths.length)
    }
  }
  await Promise.all(Array.from({ length: readsAtOnce }, reader))
  if (stats.every(one => one === undefined)) throw new FolderError(`no file of ${folder.path} can be read`)
  const readable = paths.filter((_, i) => stats[i] !== undefined)
  const small = paths.filter((_, i) => (stats[i]?.size ?? Number.POSITIVE_INFINITY) <= openableBytes)
  const bytes = stats.reduce((sum, one) => sum + (one?.size ?? 0), 0)
  return { ...folder, bytes, stats, openable: small.length > 0 ? small : readable }
}

async function readOnce(path: string, buffer: Buffer): Promise<Stats> {
  let file: FileHandle | undefined
  try {
    file = await open(path)
    const stats = await file.stat()
    while ((await file.read(buffer, 0, buffer.length)).bytesRead > 0);
    return stats
  } finally {
    await file?.close()
  }
}

/** The indices of the files that somebody has changed or removed since. */
export async function changedSince({ paths, stats }: WarmFolder): Promise<Set<number>> {
  const changed = new Set<number>()
  for (const [i, before] of stats.entries()) {
    if (before === undefined) continue
    const now = await lstat(paths[i]!).catch(() => undefined)
    const same =
      now?.ino === before.ino &&
      now.size === before.size &&
      now.mtimeMs === before.mtimeMs &&
      now.ctimeMs === before.ctimeMs
    if (!same) changed.add(i)
  }
  return changed
}
