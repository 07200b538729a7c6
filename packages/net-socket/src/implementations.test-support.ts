import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { describe } from 'vitest'
import type * as libuv from './libuv.ts'

export type Net = Pick<typeof libuv, 'connect' | 'listen' | 'bind'>
export type Connection = Awaited<ReturnType<Net['connect']>>

const require = createRequire(import.meta.url)

interface Implementation {
  name: string
  /** Where a child process imports it from. */
  url: string
  net: Net
  /** Why it cannot run on this machine. */
  missing: string | undefined
}

const implementations = [
  await implementation('uring'),
  await implementation('dispatch'),
  await implementation('libuv'),
]

async function implementation(name: string): Promise<Implementation> {
  const url = pathToFileURL(require.resolve(`@kiruna/net-socket/${name}`)).href
  const net: Net & { check?(): void } = await import(url)
  try {
    net.check?.()
    return { name, url, net, missing: undefined }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ERR_KIRUNA_UNAVAILABLE') throw error
    console.warn(`skipped: @kiruna/net-socket/${name}: ${message}`)
    return { name, url, net, missing: message }
  }
}

/** The same tests for each implementation. */
export function forEachImplementation(tests: (net: Net, url: string) => void): void {
  for (const { name, url, net, missing } of implementations) {
    describe.skipIf(missing !== undefined)(name, () => tests(net, url))
  }
}
