import { describe, test } from 'vitest'
import { NotHere, type Promised } from './contract.ts'
import { withFolder } from './files.ts'
import type { Implementation } from './implementations.ts'

/** A personality's contract as tests of vitest, for each implementation that can run here. */
export function describeContract<Personality>(
  implementations: Implementation<Personality>[],
  contract: Record<string, Promised<Personality>[]>,
): void {
  for (const { name, io, url, missing } of implementations) {
    if (missing !== undefined) console.warn(`skipped: ${name} cannot run here: ${missing}`)
    describe.skipIf(missing !== undefined)(name, () => {
      for (const [topic, promises] of Object.entries(contract)) {
        describe(topic, () => {
          for (const promised of promises) {
            test(promised.name, async context => {
              const skip = (reason: string) => {
                console.warn(`skipped: ${name}: ${promised.name}: ${reason}`)
                context.skip(reason)
              }
              try {
                await withFolder(folder => promised.run(io, { folder, url, skip }))
              } catch (error) {
                if (!(error instanceof NotHere)) throw error
                skip(error.message)
              }
            })
          }
        })
      }
    })
  }
}
