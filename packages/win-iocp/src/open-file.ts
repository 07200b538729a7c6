import { closeSync, constants } from 'node:fs'
import { toNamespacedPath } from 'node:path'
import type { Rank } from '@kiruna/priority'
import { systemError } from '@kiruna/priority/error'
import { InUse } from '@kiruna/priority/operation'
import { type Completion, port } from './iocp.ts'
import type { Native } from './native.ts'

const { O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = constants
/** libuv's flags, which node:fs takes as numbers. @see https://docs.libuv.org/en/v1.x/fs.html#file-open-constants */
const [O_RANDOM, O_SEQUENTIAL, O_TEMPORARY, O_SHORT_LIVED] = [0x10, 0x20, 0x40, 0x1000]
const [O_DIRECT, O_DSYNC, O_SYNC] = [0x0200_0000, 0x0400_0000, 0x0800_0000]

// For CreateFileW: fileapi.h, winnt.h
const [FILE_GENERIC_READ, FILE_GENERIC_WRITE] = [0x0012_0089, 0x0012_0116]
const [FILE_WRITE_DATA, FILE_APPEND_DATA, DELETE] = [0x2, 0x4, 0x0001_0000]
const [CREATE_NEW, CREATE_ALWAYS, OPEN_EXISTING, OPEN_ALWAYS, TRUNCATE_EXISTING] = [1, 2, 3, 4, 5]
const [FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_TEMPORARY] = [0x1, 0x80, 0x100]
const FILE_FLAG_WRITE_THROUGH = 0x8000_0000
const FILE_FLAG_OVERLAPPED = 0x4000_0000
const FILE_FLAG_NO_BUFFERING = 0x2000_0000
const FILE_FLAG_RANDOM_ACCESS = 0x1000_0000
const FILE_FLAG_SEQUENTIAL_SCAN = 0x0800_0000
const FILE_FLAG_DELETE_ON_CLOSE = 0x0400_0000
/** Without this a folder cannot be opened. */
const FILE_FLAG_BACKUP_SEMANTICS = 0x0200_0000
/** The program at a pipe's other end may ask who we are, but not act in our name. */
const SECURITY_SQOS_PRESENT_IDENTIFICATION = 0x0011_0000

const S_IWUSR = 0o200

/** What the operations on one open file share. It closes when none is under way. */
export class OpenFile {
  /** Its number in the addon. */
  readonly handle: number
  /** For errors. */
  readonly path: string | Buffer
  /** Opened with O_DIRECT: reads and writes must be aligned. */
  readonly isDirect: boolean
  readonly inUse: InUse
  isClosed = false
  #descriptor = -1

  constructor(handle: number, path: string | Buffer, flags: number) {
    this.handle = handle
    this.path = path
    this.inUse = new InUse(path)
    this.isDirect = (flags & O_DIRECT) !== 0
  }

  /**
   * A descriptor of the same file for node:fs, which cannot read a handle that is on a completion port. The file is
   * opened once more at the first call.
   * @throws EMFILE … (`err.code`)
   * @see https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-reopenfile
   */
  get descriptor(): number {
    if (this.#descriptor < 0) {
      const fd = port().native.descriptor(this.handle)
      if (fd < 0) throw systemError(fd, 'open', this.path)
      this.#descriptor = fd
    }
    return this.#descriptor
  }

  /** Refuses new operations at once, waits for those under way, and closes. Idempotent. */
  close(): Promise<void> {
    this.isClosed = true
    return this.inUse.close(() => {
      if (this.#descriptor >= 0) closeSync(this.#descriptor)
      return new Promise((resolve, reject) => new Close(this.handle, this.path, resolve, reject))
    })
  }
}

/**
 * Closes a file. It takes nothing from the disk, so it does not go through the lane.
 * @see https://learn.microsoft.com/windows/win32/api/handleapi/nf-handleapi-closehandle
 */
export class Close implements Completion {
  slot = -1
  readonly #path: string | Buffer
  readonly #resolve: () => void
  readonly #reject: (reason: unknown) => void

  /** @param handle from now on the number may be another file's */
  constructor(
    handle: number,
    path: string | Buffer = '',
    resolve: () => void = nothing,
    reject: (reason: unknown) => void = nothing,
  ) {
    this.#path = path
    this.#resolve = resolve
    this.#reject = reject
    port().native.close(port().begin(this), 1, handle)
  }

  complete(result: number): void {
    if (result < 0) this.#reject(systemError(result, 'close', this.#path))
    else this.#resolve()
  }
}

/**
 * Opens a file, with open(2)'s flags translated for CreateFileW. The result is the file's number in the addon.
 * @see https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-createfilew
 */
export function createFile(
  native: Native,
  slot: number,
  rank: Rank,
  path: string | Buffer,
  flags: number,
  mode: number,
): void {
  const name = widePath(path)
  native.createFile(slot, rank, name, accessOf(flags), dispositionOf(flags), attributesOf(name, flags, mode))
}

/** Adds the prefix that allows more than 260 characters, and with which NUL and CON are names of files. */
export function widePath(path: string | Buffer): string {
  return toNamespacedPath(String(path))
}

export function isPipePath(path: string): boolean {
  return /^\\\\[.?]\\pipe\\/i.test(path)
}

/** A console takes no FILE_FLAG_OVERLAPPED, and is recognized only through a handle that may read and write. */
export function isConsolePath(path: string): boolean {
  return /^\\\\[.?]\\con(in\$|out\$)?$/i.test(path)
}

function accessOf(flags: number): number {
  let access = FILE_GENERIC_READ
  if ((flags & O_RDWR) !== 0) access |= FILE_GENERIC_WRITE
  else if ((flags & O_WRONLY) !== 0) access = FILE_GENERIC_WRITE
  if ((flags & O_APPEND) !== 0) access = (access & ~FILE_WRITE_DATA) | FILE_APPEND_DATA
  if ((flags & O_TEMPORARY) !== 0) access |= DELETE
  return access
}

function dispositionOf(flags: number): number {
  switch (flags & (O_CREAT | O_EXCL | O_TRUNC)) {
    case O_CREAT:
      return OPEN_ALWAYS
    case O_CREAT | O_TRUNC:
      return CREATE_ALWAYS
    case O_CREAT | O_EXCL:
    case O_CREAT | O_EXCL | O_TRUNC:
      return CREATE_NEW
    case O_TRUNC:
    case O_TRUNC | O_EXCL:
      return TRUNCATE_EXISTING
    default:
      return OPEN_EXISTING
  }
}

function attributesOf(path: string, flags: number, mode: number): number {
  let attributes = FILE_ATTRIBUTE_NORMAL | FILE_FLAG_BACKUP_SEMANTICS
  // The only bit of a mode that Windows has.
  if ((flags & O_CREAT) !== 0 && (mode & ~process.umask() & S_IWUSR) === 0)
    attributes |= FILE_ATTRIBUTE_READONLY
  if ((flags & O_SHORT_LIVED) !== 0) attributes |= FILE_ATTRIBUTE_TEMPORARY
  if ((flags & O_TEMPORARY) !== 0) attributes |= FILE_FLAG_DELETE_ON_CLOSE
  if ((flags & O_SEQUENTIAL) !== 0) attributes |= FILE_FLAG_SEQUENTIAL_SCAN
  if ((flags & O_RANDOM) !== 0) attributes |= FILE_FLAG_RANDOM_ACCESS
  if ((flags & O_DIRECT) !== 0) attributes |= FILE_FLAG_NO_BUFFERING
  if ((flags & (O_SYNC | O_DSYNC)) !== 0) attributes |= FILE_FLAG_WRITE_THROUGH
  if (!isConsolePath(path)) attributes |= FILE_FLAG_OVERLAPPED
  if (isPipePath(path)) attributes |= SECURITY_SQOS_PRESENT_IDENTIFICATION
  return attributes >>> 0
}

/** What a call that returns nothing makes of its result. */
export const nothing = (): void => {}
