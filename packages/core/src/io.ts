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

/** What a platform has of its own. */
interface Own {
  name: Implementation['name']
  package: string
  /** Throws ERR_KIRUNA_UNAVAILABLE where it does not work here. */
  probe(): unknown
}

interface Selected {
  seek: Seek
  stream: Stream
  implementation: Implementation
}

const require = createRequire(import.meta.url)

const own: Partial<Record<NodeJS.Platform, Own>> = {
  linux: {
    name: 'io_uring',
    package: '@kiruna/linux-uring',
    probe: () => (require('@kiruna/linux-uring/uring') as { ring(): unknown }).ring(),
  },
  darwin: {
    name: 'dispatch',
    package: '@kiruna/darwin-dispatch',
    probe: () => (require('@kiruna/darwin-dispatch/dispatch') as { dispatcher(): unknown }).dispatcher(),
  },
  win32: {
    name: 'iocp',
    package: '@kiruna/win-iocp',
    probe: () => (require('@kiruna/win-iocp/iocp') as { port(): unknown }).port(),
  },
}

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
  const here = own[process.platform]
  if (here === undefined) return fallBack(`there is no package for ${process.platform} yet`)
  try {
    here.probe()
    return {
      seek: require(`${here.package}/seek`) as Seek,
      stream: require(`${here.package}/stream`) as Stream,
      implementation: { name: here.name },
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_KIRUNA_UNAVAILABLE') return fallBack(message)
    if (code === 'MODULE_NOT_FOUND') return fallBack(`${here.package} is not installed`)
    throw error
  }
}

function fallBack(reason: string): Selected {
  return { seek: libuvSeek, stream: libuvStream, implementation: { name: 'libuv', reason } }
}
