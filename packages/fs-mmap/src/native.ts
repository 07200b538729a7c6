import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import { loadAddon, unavailable } from '@kiruna/priority/addon'
import { systemError } from '@kiruna/priority/error'

/** A mapping in the addon, which stays as long as this is referenced. */
export type Handle = object & { readonly __handle: unique symbol }

/** What addon.cc exports. Requests have numbers; `take` returns their results. */
export interface Native {
  setup(onReady: () => void, isMainThread: boolean): number
  ref(): void
  unref(): void
  map(id: number, rank: number, path: Buffer, access: number, offset: number, length: number): number
  request(
    kind: number,
    id: number,
    rank: number,
    handle: Handle,
    offset: number,
    length: number,
    into?: Buffer,
  ): number
  move(id: number, rank: number): void
  cancel(id: number): void
  take(): unknown[]
  readSync(handle: Handle, offset: number, length: number, into: Uint8Array): number
  readCached(handle: Handle, offset: number, length: number, into: Uint8Array): boolean
  write(handle: Handle, offset: number, bytes: Uint8Array): number
  torn(handle: Handle): boolean
  lengthBytes(handle: Handle): number
  leadBytes(handle: Handle): number
  window(handle: Handle, pageOffset: number, length: number): ArrayBuffer | undefined
  detach(window: ArrayBuffer): void
  /** Once more: somebody else's has taken its place. */
  installFaultHandler(): void
}

/**
 * Loads the addon, and sets up its threads for this JavaScript thread.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason
 */
export function loadNative(onReady: () => void): Native {
  const native = loadAddon<Native>(createRequire(import.meta.url), 'mmap', 'uv_async')
  const result = native.setup(onReady, isMainThread)
  if (result !== 0) throw unavailable(systemError(result, 'uv_async_init').message)
  return native
}
