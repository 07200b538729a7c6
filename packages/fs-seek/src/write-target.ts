import { readFileSync, type Stats } from 'node:fs'
import { resolve } from 'node:path'
import type { Asker } from '@kiruna/priority'
import { type ErrnoException, errnoOf, systemError } from '@kiruna/priority/error'
import { isLinux, isWindows } from '@kiruna/priority/system'

/** The file to write: its path without links, and what is there. */
export interface Target {
  path: Buffer
  /** undefined: there is no file. */
  status: Stats | undefined
  /** Another file may be renamed over it. */
  isReplaceable: boolean
}

interface LookUpCalls {
  lstat(path: Buffer, asker: Asker): Promise<Stats>
  stat(path: Buffer, asker: Asker): Promise<Stats>
  readlink(path: Buffer, asker: Asker): Promise<Buffer>
}

const slash = 0x2f
const backslash = 0x5c
/** Linux follows at most this many, see path_resolution(7). */
const mostLinks = 40
const ELOOP = errnoOf('ELOOP')
const EACCES = errnoOf('EACCES')
/** S_ISVTX | S_IWOTH */
const stickyAndWritable = 0o1002
const linksAreProtected = isLinux && protectedSymlinks() !== '0'

function protectedSymlinks(): string {
  try {
    return readFileSync('/proc/sys/fs/protected_symlinks', 'latin1').trim()
  } catch {
    return '1'
  }
}

/** Follows symbolic links to the file. Links in the path of its folder are left to the kernel. */
export async function locate(calls: LookUpCalls, given: string | Buffer, asker: Asker): Promise<Target> {
  const named = <T>(call: Promise<T>) => withErrorPath(given, asker.signal, call, 'open')
  const unlessMissing = (status: Promise<Stats>) =>
    named(status).catch(error => {
      if (isSystemError(error) && error.code === 'ENOENT') return undefined
      throw error
    })
  let path = absolute(given)
  let status = await unlessMissing(calls.lstat(path, asker))
  for (let links = 0; status?.isSymbolicLink(); links++) {
    // /dev/stdout leads to a link in /proc that stands for an open file: only the kernel can follow it.
    const proc = await unlessMissing(calls.lstat(Buffer.from('/proc/self'), asker))
    if (status.dev === proc?.dev) {
      const pointedAt = await unlessMissing(calls.stat(path, asker))
      return { path, status: pointedAt, isReplaceable: false }
    }
    if (links === mostLinks) throw systemError(ELOOP, 'open', given)
    if (linksAreProtected && !mayFollow(status, await named(calls.lstat(folderOf(path), asker))))
      throw systemError(EACCES, 'open', given)
    path = linkTarget(path, await named(calls.readlink(path, asker)))
    status = await unlessMissing(calls.lstat(path, asker))
  }
  return { path, status, isReplaceable: canBeReplaced(path, status) }
}

/**
 * The kernel does not follow every link in a folder like /tmp, and neither may we: somebody else's would decide what we
 * overwrite. @see proc_sys_fs(5), protected_symlinks
 */
function mayFollow(link: Stats, folder: Stats): boolean {
  const isLikeTmp = (folder.mode & stickyAndWritable) === stickyAndWritable
  return !isLikeTmp || link.uid === process.geteuid?.() || link.uid === folder.uid
}

/** The path up to its last slash, which is included. */
export function folderOf(path: Buffer): Buffer {
  const end = Math.max(path.lastIndexOf(slash), isWindows ? path.lastIndexOf(backslash) : -1)
  return path.subarray(0, end + 1)
}

/** Puts the path that was asked for into a system error. The signal's reason stays as it is. */
export async function withErrorPath<T>(
  path: string | Buffer,
  signal: AbortSignal | undefined,
  call: Promise<T>,
  syscall?: string,
): Promise<T> {
  try {
    return await call
  } catch (error) {
    if (!isSystemError(error) || (signal?.aborted && error === signal.reason)) throw error
    throw systemError(error.errno, syscall ?? error.syscall, path)
  }
}

export function isSystemError(error: unknown): error is ErrnoException {
  return typeof error === 'object' && error !== null && 'errno' in error && 'syscall' in error
}

/**
 * A pipe or a device cannot be replaced by a file. A file that seems to have no name has just been replaced by somebody
 * else's rename. For '' and 'folder/' the kernel says what is wrong.
 */
function canBeReplaced(path: Buffer, status: Stats | undefined): boolean {
  if (status === undefined) return path.length > 0 && path.at(-1) !== slash
  return status.isFile()
}

/** An absolute path, so that a change of the working directory makes no difference. It is not normalized. */
function absolute(path: string | Buffer): Buffer {
  // An empty path stays empty: resolved, it would be the current folder.
  if (isWindows) return Buffer.from(path.length === 0 ? '' : resolve(String(path)))
  const name = Buffer.from(path as string)
  if (name.length === 0 || name[0] === slash) return name
  const folder = process.cwd()
  // cwd() garbles what is not UTF-8.
  return Buffer.concat([Buffer.from(folder.includes('\ufffd') ? './' : `${folder}/`), name])
}

/** Where a link leads. The path is not normalized: `..` may be the parent of a folder that another link leads to. */
function linkTarget(link: Buffer, text: Buffer): Buffer {
  if (isWindows) return Buffer.from(resolve(String(folderOf(link)), String(text)))
  return text[0] === slash ? text : Buffer.concat([folderOf(link), text])
}
