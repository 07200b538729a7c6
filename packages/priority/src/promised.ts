import { types } from 'node:util'

/**
 * Rejects a promise with an error that was made for it alone, once the error's stack tells which functions await it. V8
 * knows them while it runs a reaction whose promise, or whose promise's only reaction's, is that one. So this derives
 * one from another: what `then` derives is what a constructor gives it, and here that is `promise` itself. It costs
 * nothing where nothing fails.
 * @see https://v8.dev/docs/stack-trace-api
 */
export function rejectLocated(
  promise: Promise<unknown>,
  reject: (reason: unknown) => void,
  error: unknown,
): void {
  if (!types.isNativeError(error) || typeof Error.captureStackTrace !== 'function') {
    reject(error)
    return
  }
  /** What `then` constructs. */
  function Derived(executor: (resolve: () => void, reject: (reason: unknown) => void) => void) {
    executor(nothing, reject)
    return promise
  }
  const located = Promise.resolve().then(function locate() {
    try {
      const { stack = '' } = error
      Error.captureStackTrace(error, locate)
      const frames = error.stack?.indexOf(firstFrame) ?? -1
      error.stack = frames === -1 ? stack : stack.split(firstFrame, 1)[0] + error.stack!.slice(frames)
    } catch {} // a frozen one stays as it is
    throw error
  })
  located.constructor = { [Symbol.species]: Derived } as unknown as PromiseConstructor
  located.then()
}

/** What stands before it is the error's name, its code and its message. */
const firstFrame = '\n    at '
const nothing = () => {}
