import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { coded } from '@kiruna/priority/error'

/** What uring.cc exports. */
export interface Native {
  setup(
    memory: ArrayBuffer,
    onReady: () => void,
    isMainThread: boolean,
  ): number | [number, number, number, number, number, number, number]
  enter(toSubmit: number): number
  address(memory: Uint8Array): number
  ref(): void
  unref(): void
}

/** @throws Error ERR_KIRUNA_UNAVAILABLE with the reason */
export function loadNative(): Native {
  if (process.platform !== 'linux') throw unavailable(`io_uring is Linux's, this is ${process.platform}`)
  // Bun panics in uv_poll, and under Deno it never wakes: not even load the addon there.
  if (process.versions.bun !== undefined) throw unavailable('Bun has no uv_poll')
  if (process.versions.deno !== undefined) throw unavailable('Deno has no uv_poll')
  const require = createRequire(import.meta.url)
  try {
    return require('node-gyp-build')(fileURLToPath(new URL('..', import.meta.url)))
  } catch (error) {
    throw unavailable(`the addon is not built for this machine (${(error as Error).message.split('\n')[0]})`)
  }
}

export function unavailable(reason: string): Error {
  return coded(Error, 'ERR_KIRUNA_UNAVAILABLE', reason)
}
