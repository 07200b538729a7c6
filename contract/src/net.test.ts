import type { Net } from '@kiruna/net-socket'
import type * as dispatch from '@kiruna/net-socket/dispatch'
import type * as iocp from '@kiruna/net-socket/iocp'
import type * as libuv from '@kiruna/net-socket/libuv'
import type * as uring from '@kiruna/net-socket/uring'
import { describe, test } from 'vitest'
import { withFolder } from './files.ts'
import { implementations } from './net/implementations.ts'
import { netContract } from './net.ts'

type Same<A, B> = [A, B] extends [B, A] ? true : false
type Shape<Module extends Net> = [Module['connect'], Module['listen'], Module['bind']]
/** The compiler's part of the contract: who uses one implementation can use the other. */
const oneShape: Same<Shape<typeof libuv>, Shape<typeof uring>> &
  Same<Shape<typeof libuv>, Shape<typeof dispatch>> &
  Same<Shape<typeof libuv>, Shape<typeof iocp>> = true

for (const { name, net, netUrl, missing } of implementations) {
  if (missing !== undefined) console.warn(`skipped: ${name} cannot run here: ${missing}`)
  describe.skipIf(missing !== undefined || !oneShape)(name, () => {
    for (const [topic, contracts] of Object.entries(netContract)) {
      describe(topic, () => {
        for (const contract of contracts) {
          test(contract.name, context =>
            withFolder(folder =>
              contract.run(net, {
                folder,
                netUrl,
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
