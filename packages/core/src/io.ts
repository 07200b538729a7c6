import { createRequire } from 'node:module'
import * as libuv from '@kiruna/node-libuv/seek'
import { invalidValue } from '@kiruna/priority/error'
import './default-scheduler.ts' // a bare priority goes on at that priority

/** The seek personality: files at offsets. */
export type Seek = typeof libuv

/** What does the I/O here, and where it is not the OS's own, why not. */
export interface Implementation {
  name: 'io_uring' | 'dispatch' | 'iocp' | 'libuv'
  reason?: string
}

/** What linux-uring exports beside `seek`, to know whether it works here. */
interface UringModule {
  ring(): unknown
}

const require = createRequire(import.meta.url)
const selected = select()

/** Files at offsets, by the OS's preferred API. */
export const seek: Seek = selected.seek

/** Which implementation this process has, and why not the better one: `{ name: 'libuv', reason: 'KIRUNA_IO=libuv' }`. */
export function implementation(): Implementation {
  return { ...selected.implementation }
}

function select(): { seek: Seek; implementation: Implementation } {
  const forced = process.env.KIRUNA_IO || undefined
  if (forced !== undefined && forced !== 'libuv') {
    throw invalidValue('KIRUNA_IO', "must be 'libuv' or unset", forced)
  }
  if (forced !== undefined) return fallBack('KIRUNA_IO=libuv')
  if (process.platform !== 'linux') return fallBack(`there is no package for ${process.platform} yet`)
  try {
    ;(require('@kiruna/linux-uring/uring') as UringModule).ring()
    return { seek: require('@kiruna/linux-uring/seek') as Seek, implementation: { name: 'io_uring' } }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_KIRUNA_UNAVAILABLE') return fallBack(message)
    if (code === 'MODULE_NOT_FOUND') return fallBack('@kiruna/linux-uring is not installed')
    throw error
  }
}

function fallBack(reason: string): { seek: Seek; implementation: Implementation } {
  return { seek: libuv, implementation: { name: 'libuv', reason } }
}
