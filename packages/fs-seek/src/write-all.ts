import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { types } from 'node:util'
import { type Asker, askerOf, type Caller, deliver, rankOf } from '@kiruna/priority'
import {
  checkBuffer,
  checkInteger,
  checkPath,
  detached,
  ownOptions,
  type PathLike,
} from '@kiruna/priority/arguments'
import { errnoOf, invalidType, systemError } from '@kiruna/priority/error'
import { checkAllowed, isAllowed } from '@kiruna/priority/permission'
import { rejectLocated } from '@kiruna/priority/promised'
import { isWindows } from '@kiruna/priority/system'
import { Save } from './save-order.ts'
import { Source } from './write-source.ts'
import { folderOf, isSystemError, locate, type Target, withErrorPath } from './write-target.ts'

export interface WriteAllOptions {
  /**
   * Whatever happens, the file holds all of the old content or all of the new; true by default. Where what protects the
   * old file (its owner, mode, access list, extended attributes) cannot be given to a new one, the file is written in
   * place; with 'require' that is an error.
   */
  atomic?: boolean | 'require'
  /** Resolves when the new content would survive a loss of power; true by default. */
  durable?: boolean
  /** The mode of a new file, less the umask; 0o666 by default. */
  mode?: number
}

export type WriteData = string | Uint8Array | AsyncIterable<Uint8Array>

interface Closable {
  close(): Promise<void>
}

/** A pair's system calls, each through the lane on behalf of its asker. */
export interface WriteCalls<File extends Closable> {
  open(path: Buffer, flags: number, mode: number, asker: Asker): Promise<File>
  /** O_CREAT, O_TRUNC: once begun, it has the outcome that the OS gives it, even if the signal has aborted by then. */
  create(path: Buffer, flags: number, mode: number, asker: Asker): Promise<File>
  lstat(path: Buffer, asker: Asker): Promise<Stats>
  stat(path: Buffer, asker: Asker): Promise<Stats>
  fstat(file: File, asker: Asker): Promise<Stats>
  readlink(path: Buffer, asker: Asker): Promise<Buffer>
  /** @param position −1: at the current file offset */
  write(file: File, bytes: Uint8Array, position: number, asker: Asker): Promise<void>
  fsync(file: File, asker: Asker): Promise<void>
  /** Writes the dirty pages there to the disk, and resolves when they have arrived. */
  writeBack(file: File, position: number, lengthBytes: number, asker: Asker): Promise<void>
  /** @param uid −1: unchanged */
  fchown(file: File, uid: number, gid: number, asker: Asker): Promise<void>
  fchmod(file: File, mode: number, asker: Asker): Promise<void>
  /**
   * Gives to a new file the access list and the extended attributes of another, no more and no less. Absent: the system
   * has no call for it here.
   */
  copyAttributes?(from: File, to: File, asker: Asker): Promise<void>
  rename(from: Buffer, to: Buffer, asker: Asker): Promise<void>
  unlink(path: Buffer, asker: Asker): Promise<void>
}

/**
 * seek.writeAll, over a pair's calls.
 *
 *     .kiruna-… created ─► owner, mode ─► written ─► fsync ─► close ─► renamed over the file ─► fsync of the folder
 *
 * After an error or an abort before the rename, the temporary file is removed; it stays only if the process ends or the
 * power fails meanwhile. From the rename on, nothing is cancelled: the new content is there.
 */
export function writeAll<File extends Closable>(
  calls: WriteCalls<File>,
  path: PathLike,
  data: WriteData,
  caller: Caller,
  options?: WriteAllOptions,
): Promise<void> {
  const promise = new Promise<void>((resolve, reject) => {
    const { atomic = true, durable = true, mode = 0o666 } = ownOptions(options)
    const name = checkPath(path)
    if (typeof atomic !== 'boolean' && atomic !== 'require')
      throw invalidType('options.atomic', "a boolean or 'require'", atomic)
    if (typeof durable !== 'boolean') throw invalidType('options.durable', 'a boolean', durable)
    checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    checkData(data)
    checkAllowed('fs.write', name)
    const asker = askerOf(caller)
    if (asker.signal?.aborted) return deliver(asker, () => reject(asker.signal!.reason))
    const source = new Source(data, asker)
    new WriteAll(calls, name, source, asker, durable, mode).run(atomic).then(
      () => deliver(asker, resolve),
      error => deliver(asker, () => fail(reject, error)),
    )
  })
  const fail = (reject: (reason: unknown) => void, error: unknown) => {
    if (isSystemError(error)) rejectLocated(promise, reject, error)
    else reject(error) // the signal's reason, or what the source has thrown
  }
  return promise
}

function checkData(data: WriteData): void {
  if (typeof data === 'string') return
  if (types.isUint8Array(data)) checkBuffer(data)
  else if (typeof (data as AsyncIterable<Uint8Array> | undefined)?.[Symbol.asyncIterator] !== 'function') {
    throw invalidType('data', 'a string, a Uint8Array or an AsyncIterable of Uint8Arrays', data)
  }
}

const { O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_RDONLY } = constants
const EISDIR = errnoOf('EISDIR')
const ENOTSUP = errnoOf('ENOTSUP')
const newFile = O_WRONLY | O_CREAT | O_EXCL
// Windows has none of these.
const { O_DIRECTORY = 0, O_NOFOLLOW = 0, O_NOCTTY = 0 } = constants as Partial<typeof constants>

/** What /proc, /sys and their like say to a new file. */
const createFailures = new Set(['EACCES', 'EPERM', 'ENOENT', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL'])

/** The longest pause between two tries of a rename; all pauses take a second together. */
const longestPauseMs = 512

/** Written back at a time: four pieces of the lane's. */
const writeBackBytes = 1024 * 1024

class WriteAll<File extends Closable> {
  readonly #calls: WriteCalls<File>
  readonly #path: string | Buffer
  readonly #source: Source
  readonly #durable: boolean
  readonly #mode: number
  readonly #save: Save
  readonly #asker: Asker
  readonly #uncancelled: Asker

  constructor(
    calls: WriteCalls<File>,
    path: string | Buffer,
    source: Source,
    asker: Asker,
    durable: boolean,
    mode: number,
  ) {
    this.#calls = calls
    this.#path = path
    this.#source = source
    this.#durable = durable
    this.#mode = mode
    this.#save = new Save(String(path), asker)
    this.#asker = this.#save.asker
    this.#uncancelled = this.#save.uncancelled
  }

  async run(atomic: boolean | 'require'): Promise<void> {
    try {
      const target = await this.#locateInTurn()
      if (target === undefined) return
      const { isReplaceable } = target
      if (!isReplaceable && atomic === 'require') throw systemError(ENOTSUP, 'rename', this.#path)
      const isReplaced =
        atomic !== false && isReplaceable && (await this.#replace(target, atomic === 'require'))
      if (!isReplaced) await this.#overwrite(target)
      this.#save.done()
    } finally {
      this.#save.over()
      await this.#source.close()
    }
  }

  /** Returns undefined if a newer content is in the file already. */
  async #locateInTurn(): Promise<Target | undefined> {
    const target = await locate(this.#calls, this.#path, this.#save.first)
    const { path, status } = target
    if (status !== undefined && !status.isFile()) return target // two may well write to one pipe
    const parent = folderOf(path)
    const folder = await this.#calls.stat(parent, this.#asker).catch(nothing)
    this.#asker.signal?.throwIfAborted()
    if (folder === undefined) return target // what is to come tells why
    const hasWaited = await this.#save.turn(`${folder.dev} ${folder.ino} ${path.subarray(parent.length)}`)
    if (hasWaited === 'is replaced') return undefined
    return hasWaited === 'has waited' ? locate(this.#calls, this.#path, this.#asker) : target
  }

  /** Returns false, with nothing changed, if the file must be written in place. */
  async #replace({ path, status }: Target, isRequired: boolean): Promise<boolean> {
    const [calls, asker, uncancelled] = [this.#calls, this.#asker, this.#uncancelled]
    const parent = folderOf(path)
    // The folder is opened first: if it cannot be opened, that must be known before the rename.
    const folder = this.#durable ? await this.#openFolder(parent) : undefined
    let old: File | undefined
    try {
      // A caller who may not write to the file may not replace it: a rename checks only the folder's permissions.
      if (status !== undefined)
        old = await this.#call(calls.open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY, 0, asker))
      const temporary = Buffer.concat([
        parent,
        Buffer.from(`.kiruna-${randomBytes(12).toString('base64url')}`),
      ])
      if (!isAllowed('fs.write', temporary) && !isRequired) return false
      let file: File
      try {
        file = await this.#call(calls.create(temporary, newFile, this.#modeAtBirth(status), asker))
      } catch (error) {
        if (isRequired || !isForInPlace(error, status)) throw error
        return false
      }
      try {
        const isProtected = await this.#closing(file, async () => {
          asker.signal?.throwIfAborted()
          if (old !== undefined) {
            const isProtected = await this.#protect(file, old, status!, isRequired)
            const closed = old.close()
            old = undefined // Windows replaces no file that is open
            await closed
            if (!isProtected) return false
          }
          await this.#write(file, 0, true)
          // Even if it is not to be durable: otherwise the rename may reach the disk before the content.
          await this.#call(calls.fsync(file, asker))
          if (folder !== undefined || !this.#durable || isWindows) return true
          // The folder cannot be opened, and so not synced. An fsync of a renamed file brings its name along on the
          // usual file systems.
          await this.#rename(temporary, path)
          await this.#call(calls.fsync(file, uncancelled))
          return true
        })
        if (!isProtected) {
          await calls.unlink(temporary, uncancelled).catch(nothing)
          return false
        }
        if (folder !== undefined || !this.#durable || isWindows) await this.#rename(temporary, path)
      } catch (error) {
        await calls.unlink(temporary, uncancelled).catch(nothing)
        throw error
      }
      if (folder !== undefined) await this.#syncFolder(folder)
      return true
    } finally {
      await old?.close().catch(nothing)
      await folder?.close()
    }
  }

  /** Tries again on Windows: a virus scanner, an indexer or another writeAll may have the file open for a moment. */
  async #rename(from: Buffer, to: Buffer): Promise<void> {
    for (let pauseMs = 1; ; pauseMs *= 2) {
      try {
        return await this.#call(this.#calls.rename(from, to, this.#asker))
      } catch (error) {
        const isBusy = isWindows && isSystemError(error) && ['EPERM', 'EACCES', 'EBUSY'].includes(error.code)
        if (!isBusy || pauseMs > longestPauseMs) throw error
      }
      await sleep(pauseMs)
    }
  }

  async #overwrite({ path, status }: Target): Promise<void> {
    // Windows would open a folder as something that can be written.
    if (status?.isDirectory()) throw systemError(EISDIR, 'open', this.#path)
    const hasPositions = status === undefined || status.isFile()
    // A pipe's other end may never come, so this open can be aborted.
    const opening = hasPositions
      ? this.#calls.create(path, O_WRONLY | O_NOCTTY | O_CREAT | O_TRUNC, this.#mode, this.#asker)
      : this.#calls.open(path, O_WRONLY | O_NOCTTY, 0, this.#asker)
    const file = await this.#call(opening)
    await this.#closing(file, async () => {
      await this.#write(file, hasPositions ? 0 : -1, hasPositions && this.#durable)
      if (this.#durable) await this.#fsyncIfPossible(file, this.#asker)
    })
    if (!this.#durable || status !== undefined) return
    const folder = await this.#openFolder(folderOf(path))
    if (folder !== undefined) await this.#closing(folder, () => this.#syncFolder(folder))
  }

  /** Does the work and closes the file. An error of the work comes before one of the close. */
  async #closing<T>(file: File, work: () => Promise<T>): Promise<T> {
    let done: T
    try {
      done = await work()
    } catch (error) {
      await file.close().catch(nothing)
      throw error
    }
    await this.#call(file.close())
    return done
  }

  /**
   * @param position −1: in order, for what has no positions
   * @param isSynced an fsync follows. Below user-blocking the data is then written back as it goes, a little at a time:
   *   the lane does not see what an fsync writes, and an fsync of all of it would hold up urgent callers.
   */
  async #write(file: File, position: number, isSynced: boolean): Promise<void> {
    let [at, writtenBack] = [position, 0]
    for (let bytes = await this.#source.next(); bytes !== undefined; bytes = await this.#source.next()) {
      const { length } = bytes
      for (let done = 0; done < length; ) {
        if (bytes.length !== length) throw detached() // transferred between two pieces
        const isGradual = isSynced && rankOf(this.#asker.priority) >= 2
        const piece = isGradual ? bytes.subarray(done, done + writeBackBytes) : bytes.subarray(done)
        try {
          await this.#call(this.#calls.write(file, piece, at, this.#asker))
        } catch (error) {
          if (at !== 0 || !isSystemError(error) || error.code !== 'ESPIPE') throw error
          at = -1 // a file in /proc may have no positions
          continue
        }
        done += piece.length
        if (at !== -1) at += piece.length
        if (!isGradual || at - writtenBack < writeBackBytes) continue
        await this.#call(this.#calls.writeBack(file, writtenBack, at - writtenBack, this.#asker))
        writtenBack = at
      }
    }
  }

  /** Only those who may read the old content may read the new, even before the file has its owner. */
  #modeAtBirth(status: Stats | undefined): number {
    if (status === undefined) return this.#mode
    return status.mode & (isWindows ? 0o777 : 0o600)
  }

  /**
   * Gives to the new file what protects the old one. It comes before the writing, so that the content is never there
   * without it, and since a write clears set-user-ID, as a write in place does.
   * @returns false if that cannot be done, and is not required
   * @throws why, if it is required
   */
  async #protect(file: File, old: File, wanted: Stats, isRequired: boolean): Promise<boolean> {
    if (isWindows) return true
    const [calls, asker] = [this.#calls, this.#asker]
    try {
      const made = await this.#call(calls.fstat(file, asker))
      const { uid, gid } = wanted
      if (made.uid !== uid || made.gid !== gid)
        await this.#call(calls.fchown(file, made.uid === uid ? -1 : uid, gid, asker))
      if (calls.copyAttributes !== undefined) await this.#call(calls.copyAttributes(old, file, asker))
      else if (mayHaveAccessList(wanted)) throw systemError(ENOTSUP, 'fsetxattr', this.#path)
      await this.#call(calls.fchmod(file, wanted.mode & 0o7777, asker))
      return true
    } catch (error) {
      // Under Node's permission model there is no fchmod.
      if (isRequired || !(isSystemError(error) || isDenied(error))) throw error
      asker.signal?.throwIfAborted()
      return false
    }
  }

  async #openFolder(path: Buffer): Promise<File | undefined> {
    if (isWindows) return undefined // a folder cannot be opened there, and need not be synced
    try {
      return await this.#call(this.#calls.open(path, O_RDONLY | O_DIRECTORY, 0, this.#asker))
    } catch (error) {
      if (isSystemError(error) && error.code === 'EACCES') return undefined // it may be written, and not read
      throw error
    }
  }

  #syncFolder(folder: File): Promise<void> {
    return this.#fsyncIfPossible(folder, this.#uncancelled)
  }

  /** fsync(2) says EINVAL of a pipe, a terminal, or a folder of a file system that cannot sync one. */
  async #fsyncIfPossible(file: File, asker: Asker): Promise<void> {
    await this.#call(this.#calls.fsync(file, asker)).catch(error => {
      if (!isSystemError(error) || error.code !== 'EINVAL') throw error
    })
  }

  /** The system's errors name the path that was asked for, not the temporary file's. */
  #call<T>(call: Promise<T>): Promise<T> {
    return withErrorPath(this.#path, this.#asker.signal, call)
  }
}

/**
 * An access list's mask stands where the group's rights do: without the list they would be the group's. Where a list
 * cannot be read, this tells whether losing one could give somebody rights.
 */
function mayHaveAccessList({ mode }: Stats): boolean {
  return ((mode >> 3) & 0o7 & ~(mode & 0o7)) !== 0
}

function isDenied(error: unknown): boolean {
  return (error as { code?: string } | undefined)?.code === 'ERR_ACCESS_DENIED'
}

/** No new file can be made here, but what is there can be written: its name is too long, or it is a part of /proc. */
function isForInPlace(error: unknown, status: Stats | undefined): boolean {
  if (!isSystemError(error)) return false
  return error.code === 'ENAMETOOLONG' || (status?.blocks === 0 && createFailures.has(error.code))
}

const nothing = () => {}
