import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import { unavailable } from '@kiruna/priority/addon'
import { systemError } from '@kiruna/priority/error'
import type { Native, NativeFailure, NativeRing } from './native.ts'

const EPERM = -1
const EINVAL = -22
const EOPNOTSUPP = -95

/**
 * Sets the ring of this thread up, in memory of ours; before Linux 6.5 in memory of the kernel's.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason
 * @see io_uring_setup(2)
 */
export function setUp(native: Native, onReady: () => void): NativeRing {
  const memory = new ArrayBuffer(native.memoryBytes)
  let ring = native.setup(memory, onReady, isMainThread, false)
  if ('errno' in ring && ring.errno === EINVAL && ring.syscall === 'io_uring_setup')
    ring = native.setup(memory, onReady, isMainThread, true)
  if ('errno' in ring) throw failed(ring)
  return ring
}

function failed({ errno, syscall }: NativeFailure): Error {
  return unavailable(systemError(errno, syscall).message + because(errno, syscall))
}

/** What a user can do about it. */
function because(errno: number, syscall: string): string {
  if (errno === EPERM) return ` (${whoForbids()})`
  if (errno === EOPNOTSUPP)
    return ` (Linux before 6.5, this is ${release()}, needs external buffers, and they are forbidden here)`
  if (errno === EINVAL && syscall !== 'mmap') return ` (Linux 6.0 or later is needed, this is ${release()})`
  return ''
}

function whoForbids(): string {
  try {
    const disabled = readFileSync('/proc/sys/kernel/io_uring_disabled', 'latin1').trim() // from Linux 6.6 on
    if (disabled !== '0') return `sysctl kernel.io_uring_disabled=${disabled}`
  } catch {}
  return 'a seccomp filter forbids it, as a container has it by default'
}
