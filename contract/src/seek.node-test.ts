// The same contract for `node --test`, which needs nothing installed: node --test contract/src/seek.node-test.ts
import { describe, test } from 'node:test'
import { NotHere } from './contract.ts'
import { isWine, withFolder } from './files.ts'
import { implementations } from './implementations.ts'
import { seekContract } from './seek.ts'

for (const { name, seek, seekUrl, missing } of implementations) {
  describe(name, { skip: missing ?? false }, () => {
    for (const [topic, contracts] of Object.entries(seekContract)) {
      describe(topic, () => {
        for (const contract of contracts) {
          test(contract.name, { timeout: isWine ? 60_000 : 20_000 }, context =>
            withFolder(folder =>
              contract.run(seek, { folder, seekUrl, skip: reason => context.skip(reason) }),
            ).catch(error => {
              if (!(error instanceof NotHere)) throw error
              context.skip(error.message)
            }),
          )
        }
      })
    }
  })
}
