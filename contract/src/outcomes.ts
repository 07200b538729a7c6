import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import type { Priority } from '@kiruna/priority'

/** Why it rejects; one that resolves is a failure. */
export async function rejection(promise: Promise<unknown>): Promise<NodeJS.ErrnoException> {
  const outcome = await promise.then(
    value => ({ value }),
    reason => ({ reason }),
  )
  assert.ok('reason' in outcome, `it resolved: ${JSON.stringify(outcome)?.slice(0, 200)}`)
  return outcome.reason
}

/** The error that node:fs gives to a callback. */
export function errorOf(call: (callback: (error: Error | null) => void) => void): Promise<Error> {
  return new Promise((resolve, reject) =>
    call(error => (error ? resolve(error) : reject(new Error('node:fs gave no error')))),
  )
}

/** The same code, errno, syscall, path and message. */
export function assertSameError(given: Error, expected: Error): void {
  assert.ok(given instanceof Error)
  assert.deepEqual({ ...given, message: given.message }, { ...expected, message: expected.message })
}

/** A function that keeps to the rule for bad arguments: it returns a promise, and that rejects. */
export async function assertRejectsWith(
  call: () => Promise<unknown>,
  Kind: typeof TypeError | typeof RangeError,
  code: string,
  what: string,
): Promise<void> {
  let promise: Promise<unknown>
  try {
    promise = call()
  } catch (error) {
    assert.fail(`${what}: it throws instead of rejecting: ${error}`)
  }
  assertBadArgument(await rejection(promise), Kind, code, what)
}

/** And for what returns an iterable: it throws at once. */
export function assertThrowsWith(
  call: () => unknown,
  Kind: typeof TypeError | typeof RangeError,
  code: string,
  what: string,
): void {
  try {
    call()
  } catch (error) {
    assertBadArgument(error as NodeJS.ErrnoException, Kind, code, what)
    return
  }
  assert.fail(`${what}: it does not throw`)
}

function assertBadArgument(error: NodeJS.ErrnoException, Kind: typeof Error, code: string, what: string) {
  assert.equal(error.code, code, `${what}: ${error}`)
  assert.ok(error instanceof Kind, `${what}: ${error} is not a ${Kind.name}`)
}

/** A caller that counts how often it is asked for its priority: each piece does when it wants to be admitted. */
export class CountingAsker {
  asked = 0
  readonly signal: AbortSignal | undefined
  readonly #priority: Priority

  constructor(priority: Priority, signal?: AbortSignal) {
    this.#priority = priority
    this.signal = signal
  }

  get priority(): Priority {
    this.asked++
    return this.#priority
  }
}

/** Lets the event loop turn `count` times. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate()
}
