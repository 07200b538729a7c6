import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { Seek } from './contract.ts'

const require = createRequire(import.meta.url)

export interface Implementation {
  name: string
  seekUrl: string
  /** Why it cannot run on this machine; undefined where it can. */
  missing: string | undefined
  seek: Seek
}

/** Every package that has a `seek`. */
export const implementations: Implementation[] = [
  await implementation('@kiruna/linux-uring/seek'),
  await implementation('@kiruna/darwin-dispatch/seek'),
  await implementation('@kiruna/node-libuv/seek'),
  await implementation('@kiruna/win-iocp/seek'),
]

async function implementation(name: string): Promise<Implementation> {
  const seekUrl = pathToFileURL(require.resolve(name)).href
  const seek: Seek = await import(seekUrl)
  const missing = await seek.stat('.', 'user-blocking').then(
    () => undefined,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ERR_KIRUNA_UNAVAILABLE') return error.message
      throw error
    },
  )
  return { name, seekUrl, missing, seek }
}
