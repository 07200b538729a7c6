import { createRequire } from 'node:module'
import * as libuvSeek from '@kiruna/node-libuv/seek'
import * as libuvStream from '@kiruna/node-libuv/stream'
import { invalidValue } from '@kiruna/priority/error'
import './default-scheduler.ts' // a bare priority goes on at that priority

/** The seek personality: files at offsets. */
export type Seek = typeof libuvSeek

/** The stream personality: what comes in order, of a length unknown. */
export type Stream = typeof libuvStream

/** What does the I/O here, and where it is not the OS's own, why not. */
export interface Implementation {
  name: 'io_uring' | 'dispatch' | 'iocp' | 'libuv'
  reason?: string
}

interface Selected {
  seek: Seek
  stream: Stream
  implementation: Implementation
}

const require = createRequire(import.meta.url)
const selected = select()

/** Files at offsets, by the OS's preferred API. */
export const seek: Seek = selected.seek

/** Pipes, FIFOs, terminals, devices, and files in order, by the OS's preferred API. */
export const stream: Stream = selected.stream

/** Which implementation this process has, and why not the better one: `{ name: 'libuv', reason: 'KIRUNA_IO=libuv' }`. */
export function implementation(): Implementation {
  return { ...selected.implementation }
}

function select(): Selected {
  const forced = process.env.KIRUNA_IO || undefined
  if (forced !== undefined && forced !== 'libuv') {
    throw invalidValue('KIRUNA_IO', "must be 'libuv' or unset", forced)
  }
  if (forced !== undefined) return fallBack('KIRUNA_IO=libuv')
  if (process.platform === 'linux') return ofSystem('io_uring', '@kiruna/linux-uring', 'uring', 'ring')
  if (process.platform === 'darwin') {
    return ofSystem('dispatch', '@kiruna/darwin-dispatch', 'dispatch', 'dispatcher')
  }
  return fallBack(`there is no package for ${process.platform} yet`)
}

/** @param probe what `module` exports beside `seek` and `stream`, to know whether it works here */
function ofSystem(
  name: Implementation['name'],
  packageName: string,
  module: string,
  probe: string,
): Selected {
  try {
    ;(require(`${packageName}/${module}`) as Record<string, () => unknown>)[probe]!()
    return {
      seek: require(`${packageName}/seek`) as Seek,
      stream: require(`${packageName}/stream`) as Stream,
      implementation: { name },
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_KIRUNA_UNAVAILABLE') return fallBack(message)
    if (code === 'MODULE_NOT_FOUND') return fallBack(`${packageName} is not installed`)
    throw error
  }
}

function fallBack(reason: string): Selected {
  return { seek: libuvSeek, stream: libuvStream, implementation: { name: 'libuv', reason } }
}
