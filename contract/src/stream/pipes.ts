import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { NotHere } from '../contract.ts'
import type { StreamTest } from './contract.ts'

const { O_RDONLY, O_RDWR, O_WRONLY, O_NONBLOCK } = constants

/** A FIFO in the test's folder. */
export function fifo({ folder }: StreamTest, name = 'fifo'): string {
  if (process.platform === 'win32')
    throw new NotHere('Windows has no FIFOs: its named pipes are win-iocp’s own tests')
  const path = join(folder, name)
  execFileSync('mkfifo', [path])
  return path
}

export interface Pipe {
  readFd: number
  writeFd: number
  /** What is in it, at most so many bytes, as another program would read it, which does not wait. */
  readNow(lengthBytes?: number): string
  /** Closes what is still open. */
  close(): void
  closeWriter(): void
  closeReader(): void
}

/** Both ends of a pipe, blocking unless said otherwise. */
export function pipe(test: StreamTest, { isNonblocking = false, name = 'pipe' } = {}): Pipe {
  if (process.platform === 'win32') return windowsPipe()
  const path = fifo(test, name)
  const flags = isNonblocking ? O_NONBLOCK : 0
  const both = openSync(path, O_RDWR)
  const open = new Set([openSync(path, O_RDONLY | flags), openSync(path, O_WRONLY | flags)])
  closeSync(both)
  const [readFd, writeFd] = [...open] as [number, number]
  const close = (fd: number) => open.delete(fd) && closeSync(fd)
  return {
    readFd,
    writeFd,
    readNow(lengthBytes = 100) {
      const fd = openSync(path, O_RDONLY | O_NONBLOCK)
      try {
        const buffer = Buffer.alloc(lengthBytes)
        return buffer.toString('utf8', 0, readSync(fd, buffer))
      } finally {
        closeSync(fd)
      }
    },
    close: () => open.forEach(close),
    closeWriter: () => close(writeFd),
    closeReader: () => close(readFd),
  }
}

/** CreatePipe's. Nothing is read there without waiting: `readNow` is for what is known to be in it. */
function windowsPipe(): Pipe {
  const addon = createRequire(import.meta.url)('../../build/windows-pipe.node') as {
    pipe(): [number, number]
  }
  const [readFd, writeFd] = addon.pipe()
  const open = new Set([readFd, writeFd])
  const close = (fd: number) => open.delete(fd) && closeSync(fd)
  return {
    readFd,
    writeFd,
    readNow(lengthBytes = 100) {
      const buffer = Buffer.alloc(lengthBytes)
      return buffer.toString('utf8', 0, readSync(readFd, buffer))
    },
    close: () => open.forEach(close),
    closeWriter: () => close(writeFd),
    closeReader: () => close(readFd),
  }
}

/** fcntl(2)'s O_NONBLOCK of an fd of this process; only Linux tells. */
export function isNonblocking(fd: number): boolean {
  const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))![1]!
  return (Number.parseInt(flags, 8) & O_NONBLOCK) !== 0
}

/** A program, killed at the end of the test if it still runs. */
export async function withProgram<T>(
  command: string,
  args: string[],
  run: (child: ChildProcess) => Promise<T>,
): Promise<T> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  try {
    return await run(child)
  } finally {
    child.kill('SIGKILL')
  }
}

export function sha256(...pieces: Uint8Array[]): string {
  const hash = createHash('sha256')
  for (const bytes of pieces) hash.update(bytes)
  return hash.digest('hex')
}

/** The next piece of an iterator, as text; undefined at the end. */
export async function text(iterator: AsyncIterator<Buffer>): Promise<string | undefined> {
  const { done, value } = await iterator.next()
  return done ? undefined : String(value)
}

/** So many bytes of an iterator, which gives no more than those. */
export async function take(iterator: AsyncIterator<Buffer>, lengthBytes: number): Promise<Buffer> {
  const all: Buffer[] = []
  for (let left = lengthBytes; left > 0; ) {
    const { done, value } = await iterator.next()
    assert.ok(!done, `it ends with ${left} bytes missing`)
    all.push(value)
    left -= value.length
    assert.ok(left >= 0)
  }
  return Buffer.concat(all)
}
