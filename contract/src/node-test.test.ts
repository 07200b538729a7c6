import { test } from 'vitest'
import { noTypeScript, passes } from './node-test.test-support.ts'

test('the contract runs under node --test as well', { timeout: 120_000 }, context => {
  if (noTypeScript !== undefined) {
    console.warn(`skipped: ${noTypeScript}`)
    return context.skip(noTypeScript)
  }
  // One implementation will do: what is looked at is the runner.
  passes('seek.node-test.ts', '@kiruna/node-seek')
})
