import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { Net } from './contract.ts'

const require = createRequire(import.meta.url)

export interface Implementation {
  name: string
  netUrl: string
  /** Why it cannot run on this machine; undefined where it can. */
  missing: string | undefined
  net: Net
}

export const implementations: Implementation[] = [
  await implementation('@kiruna/net-socket/uring'),
  await implementation('@kiruna/net-socket/dispatch'),
  await implementation('@kiruna/net-socket/iocp'),
  await implementation('@kiruna/net-socket/libuv'),
]

async function implementation(name: string): Promise<Implementation> {
  const netUrl = pathToFileURL(require.resolve(name)).href
  const net: Net = await import(netUrl)
  const missing = await net.listen({ port: 0, host: '127.0.0.1' }, 'user-blocking').then(
    listener => listener.close(),
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ERR_KIRUNA_UNAVAILABLE') return error.message
      throw error
    },
  )
  return { name, netUrl, missing: missing ?? undefined, net }
}
