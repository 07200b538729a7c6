// The same contract for `node --test`: node --test contract/src/net.node-test.ts
import { describe, test } from 'node:test'
import { withFolder } from './files.ts'
import { implementations } from './net/implementations.ts'
import { netContract } from './net.ts'

for (const { name, net, netUrl, missing } of implementations) {
  describe(name, { skip: missing ?? false }, () => {
    for (const [topic, contracts] of Object.entries(netContract)) {
      describe(topic, () => {
        for (const contract of contracts) {
          test(contract.name, { timeout: 20_000 }, context =>
            withFolder(folder => contract.run(net, { folder, netUrl, skip: reason => context.skip(reason) })),
          )
        }
      })
    }
  })
}
