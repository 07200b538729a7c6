import type { Net } from '@kiruna/net-socket'
import { describe } from 'vitest'
import { sockets } from '../../../contract/src/implementations.ts'

export type { Net }
export type Connection = Awaited<ReturnType<Net['connect']>>

for (const { name, missing } of sockets) {
  if (missing !== undefined) console.warn(`skipped: ${name}: ${missing}`)
}

/** The same tests for each implementation. @param tests also takes where a child process imports it from */
export function forEachImplementation(tests: (net: Net, url: string) => void): void {
  for (const { name, url, io, missing } of sockets) {
    describe.skipIf(missing !== undefined)(name, () => tests(io, url))
  }
}
