// What the tests are written with: vitest; and under `node --test`, which is what runs on Windows, the same names on
// node:test. `expect` is vitest's in both.
import * as node from 'node:test'
import { format } from 'node:util'
import * as vitest from 'vitest'

export const { expect } = vitest

type Runner = Pick<typeof vitest, 'afterAll' | 'beforeAll' | 'describe' | 'test'>
type Work = (...given: unknown[]) => unknown
type Register = (name: string, options: node.TestOptions, work: Work) => unknown

/** Kills what hangs. */
const timeoutMs = 60_000

export const { afterAll, beforeAll, describe, test }: Runner =
  process.env.VITEST !== undefined ? vitest : onNode()

/** The same two, which on Windows skip with this reason. */
export function onUnix(reason: string): Pick<Runner, 'describe' | 'test'> {
  return skipIf(process.platform === 'win32', reason)
}

/** The same two, which skip with this reason. */
export function skipIf(isSkipped: boolean, reason: string): Pick<Runner, 'describe' | 'test'> {
  if (!isSkipped) return { describe, test }
  if (process.env.VITEST === undefined) return onNode(reason)
  console.warn(`skipped: ${reason}`)
  return { describe: describe.skip as typeof describe, test: test.skip as typeof test }
}

function onNode(skip?: string): Runner {
  const registerTest: Register = (name, options, work) =>
    node.test(name, { timeout: timeoutMs, ...options, skip }, context => work(context) as Promise<void>)
  const registerSuite: Register = (name, options, work) =>
    node.describe(name, { ...options, skip }, () => void work())
  const runner = {
    afterAll: (work: () => void) => node.after(work),
    beforeAll: (work: () => void) => node.before(work),
    describe: withEach(registerSuite),
    test: withEach(registerTest),
  }
  return runner as unknown as Runner
}

/** `register` as vitest has it: the options may be left out; and one for each of some cases, named after it. */
function withEach(register: Register) {
  const one = (name: string, ...rest: [...node.TestOptions[], Work]) => {
    const work = rest.pop() as Work
    register(name, (rest[0] as node.TestOptions) ?? {}, work)
  }
  const each =
    (cases: readonly unknown[]) =>
    (name: string, ...rest: [...node.TestOptions[], Work]) => {
      const work = rest.pop() as Work
      for (const given of cases) {
        const values = Array.isArray(given) ? given : [given]
        const shown = values.slice(0, name.match(/%[sdj]/g)?.length ?? 0)
        register(format(name, ...shown), (rest[0] as node.TestOptions) ?? {}, () => work(...values))
      }
    }
  return Object.assign(one, { each })
}
