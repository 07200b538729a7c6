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
]

async function implementation(name: string): Promise<Implementation> {
  const streamUrl = pathToFileURL(require.resolve(name)).href
  const stream: Stream = await import(streamUrl)
  return { name, streamUrl, missing: whyMissing(stream), stream }
}

function whyMissing(stream: Stream): string | undefined {
  try {
    stream.read(0, 'user-blocking') // nothing is read before it is asked for
    return process.platform === 'win32' ? 'Windows has neither mkfifo nor /dev' : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_KIRUNA_UNAVAILABLE') return (error as Error).message
    throw error
  }
}
