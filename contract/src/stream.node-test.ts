// The same contract for `node --test`: node --test contract/src/stream.node-test.ts
import { describe, test } from 'node:test'
import { NotHere } from './contract.ts'
import { isWine, withFolder } from './files.ts'
import { implementations } from './stream/implementations.ts'
import { streamContract } from './stream.ts'

for (const { name, stream, streamUrl, missing } of implementations) {
  describe(name, { skip: missing ?? false }, () => {
    for (const [topic, contracts] of Object.entries(streamContract)) {
      describe(topic, () => {
        for (const contract of contracts) {
          test(contract.name, { timeout: isWine ? 60_000 : 20_000 }, context =>
            withFolder(folder =>
              contract.run(stream, { folder, streamUrl, skip: reason => context.skip(reason) }),
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
