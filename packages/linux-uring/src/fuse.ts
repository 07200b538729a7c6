import { readFileSync } from 'node:fs'
import { deviceNumber } from './stats.ts'

/** No more often, and no more than a thousandth of the time: a thousand mounts take 10 ms to read. */
const [rereadMs, share] = [1000, 1000]

let devices: ReadonlySet<number> = new Set()
let isRecent = false

/**
 * The devices that are FUSE (sshfs, gvfs, AppImage, virtiofs …), as of a second ago. io_uring takes it that what can be
 * polled can be tried without waiting, but FUSE knows no IOCB_NOWAIT and waits for its server, on this thread. NFS and
 * 9p have no poll: those io_uring leaves to the kernel's threads by itself.
 * @see proc_pid_mountinfo(5)
 */
export function fuseDevices(): ReadonlySet<number> {
  if (isRecent) return devices
  isRecent = true
  const startMs = performance.now()
  try {
    devices = fuseDevicesIn(readFileSync('/proc/self/mountinfo', 'latin1'))
  } catch {} // no fd left, or no /proc: what was known is the best guess
  // Not by the clock: asked at every open, that would cost as much as all the rest of this.
  setTimeout(expire, Math.max(rereadMs, (performance.now() - startMs) * share)).unref()
  return devices
}

function expire(): void {
  isRecent = false
}

/** By st_dev, of lines such as `36 35 0:52 / /mnt rw,noatime shared:1 - fuse.sshfs host:/ rw,user_id=0`. */
export function fuseDevicesIn(mountinfo: string): Set<number> {
  const found = new Set<number>()
  for (const [, major, minor] of mountinfo.matchAll(line))
    found.add(deviceNumber(Number(major), Number(minor)))
  return found
}

/** A space within a field is written as \040, so that the first hyphen by itself is the one before the type. */
const line = /^\d+ \d+ (\d+):(\d+) (?:(?!- )\S* )*- (?:fuse|fuse\.\S*|fuseblk|virtiofs) /gm
