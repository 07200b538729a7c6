import { describe, test } from 'node:test'
import { NotHere, type Promised } from './contract.ts'
import { isWine, withFolder } from './files.ts'
import type { Implementation } from './implementations.ts'

const timeout = isWine ? 60_000 : 20_000

/** A personality's contract for `node --test`, which needs nothing installed. */
export function describeContract<Personality>(
  implementations: Implementation<Personality>[],
  contract: Record<string, Promised<Personality>[]>,
): void {
  for (const { name, io, url, missing } of implementations) {
    describe(name, { skip: missing ?? false }, () => {
      for (const [topic, promises] of Object.entries(contract)) {
        describe(topic, () => {
          for (const promised of promises) {
            test(promised.name, { timeout }, context =>
              withFolder(folder =>
                promised.run(io, { folder, url, skip: reason => context.skip(reason) }),
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
}
