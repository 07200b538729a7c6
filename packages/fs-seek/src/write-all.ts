import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { types } from 'node:util'
import { type Asker, askerOf, type Caller, deliver, type Fault, rankOf, trusted } from '@kiruna/priority'
import { checkBuffer, checkInteger, checkPath, detached, type PathLike } from '@kiruna/priority/arguments'
import { errnoOf, invalidType, reportUncaught, systemError } from '@kiruna/priority/error'
import { isWindows } from '@kiruna/priority/system'
import { Source } from './write-source.ts'
import { folderOf, isSystemError, locate, type Target, withErrorPath } from './write-target.ts'

export interface WriteAllOptions {
  /** Whatever happens, the file holds all of the old content or all of the new; true by default. */
  atomic?: boolean
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
  options: WriteAllOptions = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { atomic = true, durable = true, mode = 0o666 } = options
    const name = checkPath(path)
    if (typeof atomic !== 'boolean') throw invalidType('options.atomic', 'a boolean', atomic)
    if (typeof durable !== 'boolean') throw invalidType('options.durable', 'a boolean', durable)
    checkInteger(mode, 'mode', 0, 2 ** 32 - 1)
    checkData(data)
    const asker = askerOf(caller)
    const settle = (job: () => void) => {
      try {
        deliver(asker, job)
      } catch (error) {
        reportUncaught(error) // the asker's own deliver has thrown, but the promise still settles
        job()
      }
    }
    if (asker.signal?.aborted) return settle(() => reject(asker.signal!.reason))
    const source = new Source(data, asker)
    new WriteAll(calls, name, source, asker, durable, mode).run(atomic).then(
      () => settle(resolve),
      error => settle(() => reject(error)),
    )
  })
}

function checkData(data: WriteData): void {
  if (typeof data === 'string') return
  if (types.isUint8Array(data)) checkBuffer(data)
  else if (typeof (data as AsyncIterable<Uint8Array> | undefined)?.[Symbol.asyncIterator] !== 'function') {
    throw invalidType('data', 'a string, a Uint8Array or an AsyncIterable of Uint8Arrays', data)
  }
}

/** The caller of an operation's steps: each follows at once on the one before; only the outcome waits its turn. */
class StepAsker implements Asker {
  readonly signal: AbortSignal | undefined
  readonly isContinuation: boolean
  readonly #asker: Asker

  constructor(asker: Asker, signal: AbortSignal | undefined, isContinuation: boolean) {
    this.#asker = asker
    this.signal = signal
    this.isContinuation = isContinuation
  }

  get [trusted](): true {
    return true
  }

  get priority() {
    return this.#asker.priority
  }

  get fault(): Fault | undefined {
    return this.#asker.fault
  }

  deliver(job: () => void): void {
    job()
  }

  onPriorityChange(listener: () => void): () => void {
    return this.#asker.onPriorityChange?.(listener) ?? nothing
  }
}

const { O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_RDONLY } = constants
const EISDIR = errnoOf('EISDIR')
const newFile = O_WRONLY | O_CREAT | O_EXCL
// Windows has none of these.
const { O_DIRECTORY = 0, O_NOFOLLOW = 0, O_NOCTTY = 0 } = constants as Partial<typeof constants>

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
  /** For the lookup, which has nothing open yet: in the lane it waits like everything that has not begun. */
  readonly #first: Asker
  /** For later steps: they go before what has not begun, or a thousand files would be open before one is done. */
  readonly #asker: Asker
  /** For steps that an abort must not prevent. */
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
    this.#first = new StepAsker(asker, asker.signal, false)
    this.#asker = new StepAsker(asker, asker.signal, true)
    this.#uncancelled = new StepAsker(asker, undefined, true)
  }

  async run(atomic: boolean): Promise<void> {
    try {
      const target = await locate(this.#calls, this.#path, this.#first)
      if (atomic && target.isReplaceable) await this.#replace(target)
      else await this.#overwrite(target)
    } finally {
      await this.#source.close()
    }
  }

  async #replace({ path, status }: Target): Promise<void> {
    const [calls, asker, uncancelled] = [this.#calls, this.#asker, this.#uncancelled]
    const parent = folderOf(path)
    // The folder is opened first: if it cannot be opened, that must be known before the rename.
    const folder = this.#durable ? await this.#openFolder(parent) : undefined
    try {
      if (status !== undefined) {
        // A caller who may not write to the file may not replace it: a rename checks only the folder's permissions.
        const old = await this.#call(calls.open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY, 0, asker))
        await old.close()
      }
      const temporary = Buffer.concat([
        parent,
        Buffer.from(`.kiruna-${randomBytes(12).toString('base64url')}`),
      ])
      const file = await this.#call(calls.create(temporary, newFile, this.#modeAtBirth(status), asker))
      try {
        await this.#closing(file, async () => {
          asker.signal?.throwIfAborted()
          if (status !== undefined) await this.#keepOwnerAndMode(file, status)
          await this.#write(file, 0, true)
          // Even if it is not to be durable: otherwise the rename may reach the disk before the content.
          await this.#call(calls.fsync(file, asker))
        })
        await this.#rename(temporary, path)
      } catch (error) {
        await calls.unlink(temporary, uncancelled).catch(nothing)
        throw error
      }
      if (folder !== undefined) await this.#syncFolder(folder)
    } finally {
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
  async #closing(file: File, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      await file.close().catch(nothing)
      throw error
    }
    await this.#call(file.close())
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
        await this.#call(this.#calls.write(file, piece, at, this.#asker))
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
    const isOurs = status.uid === process.geteuid?.() && status.gid === process.getegid?.()
    return status.mode & (isOurs ? 0o777 : 0o700)
  }

  /** Usually there is nothing to do. It comes before the writing, which clears set-user-ID as a write in place does. */
  async #keepOwnerAndMode(file: File, wanted: Stats): Promise<void> {
    if (isWindows) return
    const made = await this.#call(this.#calls.fstat(file, this.#asker))
    let [uid, gid, mode] = [made.uid, made.gid, wanted.mode & 0o7777]
    if (uid !== wanted.uid && (await this.#chown(file, wanted.uid, wanted.gid))) {
      uid = wanted.uid
      gid = wanted.gid
    }
    if (gid !== wanted.gid && (await this.#chown(file, -1, wanted.gid))) gid = wanted.gid
    // With another owner or group, these rights would be given to others: a group then gets the rights of everybody
    // else.
    if (uid !== wanted.uid) mode &= ~0o4000
    if (gid !== wanted.gid) mode &= ~0o2070 | ((mode & 0o7) << 3)
    if (mode !== (made.mode & 0o7777) || uid !== made.uid || gid !== made.gid) {
      await this.#call(this.#calls.fchmod(file, mode, this.#asker))
    }
  }

  /** Returns false if it is not permitted, or if files have no owners here. */
  async #chown(file: File, uid: number, gid: number): Promise<boolean> {
    try {
      await this.#calls.fchown(file, uid, gid, this.#asker)
      return true
    } catch {
      this.#asker.signal?.throwIfAborted()
      return false
    }
  }

  async #openFolder(path: Buffer): Promise<File | undefined> {
    if (isWindows) return undefined // a folder cannot be opened there, and need not be synced
    return this.#call(this.#calls.open(path, O_RDONLY | O_DIRECTORY, 0, this.#asker))
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

const nothing = () => {}
