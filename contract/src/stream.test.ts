import type * as dispatch from '@kiruna/darwin-dispatch/stream'
import type * as uring from '@kiruna/linux-uring/stream'
import type * as libuv from '@kiruna/node-libuv/stream'
import type * as iocp from '@kiruna/win-iocp/stream'
import { describe, test } from 'vitest'
import { withFolder } from './files.ts'
import { implementations } from './stream/implementations.ts'
import { streamContract } from './stream.ts'

type Same<A, B> = [A, B] extends [B, A] ? true : false
/** The compiler's part of the contract: who uses one implementation can use the other. */
const oneShape: Same<typeof libuv, typeof uring> &
  Same<typeof libuv, typeof dispatch> &
  Same<typeof libuv, typeof iocp> = true

for (const { name, stream, streamUrl, missing } of implementations) {
  if (missing !== undefined) console.warn(`skipped: ${name} cannot run here: ${missing}`)
  describe.skipIf(missing !== undefined || !oneShape)(name, () => {
    for (const [topic, contracts] of Object.entries(streamContract)) {
      describe(topic, () => {
        for (const contract of contracts) {
          test(contract.name, context =>
            withFolder(folder =>
              contract.run(stream, {
                folder,
                streamUrl,
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
