import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'

const groups = '/sys/fs/cgroup/blkio'

/**
 * This process reads no more than so much a second from the disk that the file is on, until it is disposed. Throws where
 * the machine does not allow it: it takes root, and a control group of version 1.
 * @see Documentation/admin-guide/cgroup-v1/blkio-controller.rst
 */
export function throttleDisk(path: string, bytesASecond: number): Disposable {
  const group = `${groups}/kiruna-bench-${process.pid}`
  mkdirSync(group)
  try {
    writeFileSync(`${group}/blkio.throttle.read_bps_device`, `${diskOf(path)} ${bytesASecond}`)
    writeFileSync(`${group}/cgroup.procs`, `${process.pid}`)
  } catch (error) {
    rmdirSync(group)
    throw error
  }
  return {
    [Symbol.dispose]() {
      writeFileSync(`${groups}/cgroup.procs`, `${process.pid}`)
      rmdirSync(group)
    },
  }
}

/** Its numbers, of a partition its disk's. */
function diskOf(path: string): string {
  const { dev } = statSync(path)
  const device = `/sys/dev/block/${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
  const disk = existsSync(`${device}/partition`) ? `${device}/..` : device
  return readFileSync(`${disk}/dev`, 'latin1').trim()
}
