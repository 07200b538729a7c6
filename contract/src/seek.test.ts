import type * as dispatch from '@kiruna/darwin-dispatch/seek'
import type * as uring from '@kiruna/linux-uring/seek'
import type * as libuv from '@kiruna/node-libuv/seek'
import type * as iocp from '@kiruna/win-iocp/seek'
import { describe, test } from 'vitest'
import type { Public } from './contract.ts'
import { withFolder } from './files.ts'
import { implementations } from './implementations.ts'
import { seekContract } from './seek.ts'

type Same<A, B> = [A, B] extends [B, A] ? true : false
/** The compiler's part of the contract: who uses one implementation can use the other. */
const oneShape: Same<Public<typeof libuv>, Public<typeof uring>> &
  Same<Public<typeof libuv>, Public<typeof dispatch>> &
  Same<Public<typeof libuv>, Public<typeof iocp>> = true

for (const { name, seek, seekUrl, missing } of implementations) {
  if (missing !== undefined) console.warn(`skipped: ${name} cannot run here: ${missing}`)
  describe.skipIf(missing !== undefined || !oneShape)(name, () => {
    for (const [topic, contracts] of Object.entries(seekContract)) {
      describe(topic, () => {
        for (const contract of contracts) {
          test(contract.name, context =>
            withFolder(folder =>
              contract.run(seek, {
                folder,
                seekUrl,
                skip(reason) {
                  console.warn(`skipped: ${name}: ${contract.name}: ${reason}`)
                  context.skip(reason)
                },
              }),
            ),
          )
        }
      })
    }
  })
}
