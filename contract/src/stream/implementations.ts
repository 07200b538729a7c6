import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { Stream } from './contract.ts'

const require = createRequire(import.meta.url)

export interface Implementation {
  name: string
  streamUrl: string
  /** Why it cannot run on this machine; undefined where it can. */
  missing: string | undefined
  stream: Stream
}

/** Every package that has a `stream`. */
export const implementations: Implementation[] = [
  await implementation('@kiruna/linux-uring/stream'),
  await implementation('@kiruna/darwin-dispatch/stream'),
  await implementation('@kiruna/node-libuv/stream'),
  await implementation('@kiruna/win-iocp/stream'),
]

async function implementation(name: string): Promise<Implementation> {
  const streamUrl = pathToFileURL(require.resolve(name)).href
  const stream: Stream = await import(streamUrl)
  return { name, streamUrl, missing: whyMissing(name, stream), stream }
}

function whyMissing(name: string, stream: Stream): string | undefined {
  try {
    stream.read(0, 'user-blocking') // nothing is read before it is asked for
    const isOther = process.platform === 'win32' && name.includes('node-libuv')
    return isOther ? "node-libuv's streams have not been tried on Windows" : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_KIRUNA_UNAVAILABLE') return (error as Error).message
    throw error
  }
}
