import type { Stats } from 'node:fs'
import { resolve } from 'node:path'
import type { Asker } from '@kiruna/priority'
import { type ErrnoException, errnoOf, systemError } from '@kiruna/priority/error'
import { isWindows } from '@kiruna/priority/system'

/** What is to be written: where it really is, and what is there. */
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
/** path_resolution(7): Linux follows no more. */
const mostLinks = 40
const ELOOP = errnoOf('ELOOP')

/** The file at the end of the symbolic links. Its folder's links are left to the kernel. */
export async function locate(calls: LookUpCalls, given: string | Buffer, asker: Asker): Promise<Target> {
  const asked = <T>(call: Promise<T>) => about(given, asker.signal, call, 'open')
  const orNone = (status: Promise<Stats>) =>
    asked(status).catch(error => {
      if (isSystemError(error) && error.code === 'ENOENT') return undefined
      throw error
    })
  let path = absolute(given)
  let status = await orNone(calls.lstat(path, asker))
  if (status?.isSymbolicLink()) {
    const pointedAt = await orNone(calls.stat(path, asker))
    const asItIs: Target = { path, status: pointedAt, isReplaceable: false }
    if (pointedAt !== undefined && !canBeReplaced(path, pointedAt)) return asItIs
    const proc = await orNone(calls.lstat(Buffer.from('/proc/self'), asker))
    for (let links = 0; status?.isSymbolicLink(); links++) {
      // /dev/stdout leads to a link that is an open file, whatever its text says: only the kernel can follow it.
      if (status.dev === proc?.dev) return asItIs
      if (links === mostLinks) throw systemError(ELOOP, 'open', given)
      path = beside(path, await asked(calls.readlink(path, asker)))
      status = await orNone(calls.lstat(path, asker))
    }
  }
  return { path, status, isReplaceable: canBeReplaced(path, status) }
}

/** Up to its last slash: what a name is put behind. */
export function folderOf(path: Buffer): Buffer {
  const end = Math.max(path.lastIndexOf(slash), isWindows ? path.lastIndexOf(backslash) : -1)
  return path.subarray(0, end + 1)
}

/** Gives the system's errors the path that was asked for; the signal's reason is left as it is. */
export async function about<T>(
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
  return error instanceof Error && 'errno' in error && 'syscall' in error
}

/**
 * A pipe or a device is what it is by its inode, and what was deleted has no name that could be given to another file.
 * For '' and 'folder/' the kernel says what is wrong.
 */
function canBeReplaced(path: Buffer, status: Stats | undefined): boolean {
  if (status === undefined) return path.length > 0 && path.at(-1) !== slash
  return status.isFile() && status.nlink > 0
}

/** Whole, so that a change of the working directory makes no difference; what it names is not looked at. */
function absolute(path: string | Buffer): Buffer {
  // An empty path stays empty: resolved, it would be the current folder.
  if (isWindows) return Buffer.from(path.length === 0 ? '' : resolve(String(path)))
  const name = Buffer.from(path as string)
  if (name.length === 0 || name[0] === slash) return name
  const folder = process.cwd()
  // cwd() garbles what is not UTF-8.
  return Buffer.concat([Buffer.from(folder.includes('\ufffd') ? './' : `${folder}/`), name])
}

/** What the text of a link means. It is not normalized: `..` is of the folder that a link before it leads to. */
function beside(link: Buffer, text: Buffer): Buffer {
  if (isWindows) return Buffer.from(resolve(String(folderOf(link)), String(text)))
  return text[0] === slash ? text : Buffer.concat([folderOf(link), text])
}
