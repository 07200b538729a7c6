// What the tests do to mapped files behind their mappings' back, and see of them.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'

const isWindows = process.platform === 'win32'
const isWine = isWindows && process.env.WINEPREFIX !== undefined

/** Why a test cannot truncate a mapped file here. */
export const whyNotTruncated =
  isWindows && !isWine ? 'Windows makes no file shorter that is mapped' : undefined

/** Makes a mapped file shorter, or as long again. Under wine a program of Linux's does it: Windows has none. */
export function truncate(path: string, lengthBytes: number): void {
  if (!isWine) {
    fs.truncateSync(path, lengthBytes)
    return
  }
  const name = path.replace('C:', `${process.env.WINEPREFIX}/dosdevices/c:`).replaceAll('\\', '/')
  // The second file is there when the first is done with: a size is seen before the rest of its last page is zeros.
  const call = ['/unix', '/usr/bin/truncate', '-s', String(lengthBytes), name, `${name}.truncated`]
  const { status } = spawnSync('start.exe', call, { stdio: 'ignore' })
  if (status !== 0) throw new Error(`truncate ended with ${status}`)
  // It has been started: start.exe does not wait for those.
  const pause = new Int32Array(new SharedArrayBuffer(4))
  for (let waits = 0; !fs.existsSync(`${path}.truncated`); waits++) {
    if (waits === 1000) throw new Error(`${path} has not been truncated`)
    Atomics.wait(pause, 0, 0, 5)
  }
  fs.unlinkSync(`${path}.truncated`)
}

/** What this process has mapped and open of a folder. On Windows only what is mapped. */
export function held(folder: string): string[] {
  if (isWindows)
    return fs
      .readdirSync(folder)
      .map(name => join(folder, name))
      .filter(isMapped)
  const maps = fs.readFileSync('/proc/self/maps', 'latin1').split('\n')
  const fds = fs.readdirSync('/proc/self/fd').map(fd => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return [...maps, ...fds].filter(one => one.includes(folder))
}

/** Windows tells nobody; but it makes no file shorter that is mapped. What was cut off is put back. */
function isMapped(path: string): boolean {
  const { size } = fs.statSync(path)
  const kept = Math.max(0, size - 65_536)
  const cut = Buffer.alloc(size - kept)
  const fd = fs.openSync(path, 'r')
  fs.readSync(fd, cut, 0, cut.length, kept)
  fs.closeSync(fd)
  try {
    if (size > 0) fs.truncateSync(path, kept)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EPERM' // it is read-only
  }
  fs.appendFileSync(path, cut)
  return false
}

/** How much of a file's mappings has pages in this process; on Windows, how much of anything has. */
export function residentBytes(path: string): number {
  if (isWindows) return process.memoryUsage.rss()
  const text = fs.readFileSync('/proc/self/smaps', 'latin1')
  let bytes = 0
  let isOfFile = false
  for (const line of text.split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isOfFile = line.endsWith(path)
    else if (isOfFile && line.startsWith('Rss:')) bytes += Number(line.match(/\d+/)![0]) * 1024
  }
  return bytes
}
