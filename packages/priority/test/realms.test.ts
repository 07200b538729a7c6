import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { checkBuffer, checkPath, checkSignal } from '../src/arguments.ts'
import { askerOf, limit } from '../src/priority.ts'
import { rejectLocated } from '../src/promised.ts'

/** A signal as jsdom's, which knows nothing of Node's. */
class OtherSignal {
  aborted = false
  reason: unknown = undefined
  readonly #listeners = new Set<() => void>()

  addEventListener(_type: string, listener: () => void): void {
    this.#listeners.add(listener)
  }

  removeEventListener(_type: string, listener: () => void): void {
    this.#listeners.delete(listener)
  }

  abort(reason: unknown): void {
    this.aborted = true
    this.reason = reason
    for (const listener of this.#listeners) listener()
  }
}

test('what comes from another realm is taken: bytes, a URL, a signal, an error', async () => {
  checkBuffer(runInNewContext('new Uint8Array(10)'))
  checkBuffer(runInNewContext('new Uint8Array(new SharedArrayBuffer(10))'))
  expect(() =>
    checkBuffer(runInNewContext('new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 }))')),
  ).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  expect(checkPath({ href: 'file:///a%20b', protocol: 'file:' } as URL)).toBe('/a b')
  const error = runInNewContext('new Error("of another realm")')
  const promise = new Promise<void>((_, reject) =>
    queueMicrotask(() => rejectLocated(promise, reject, error)),
  )
  await expect(promise).rejects.toBe(error)
})

test('a signal of another realm aborts, and can be limited', () => {
  const other = new OtherSignal()
  const signal = other as unknown as AbortSignal
  checkSignal(signal, 'signal')
  const asker = askerOf({ priority: 'background', signal })
  const own = new AbortController()
  const limited = limit(asker, { signal: own.signal })
  expect(limited.signal!.aborted).toBe(false)
  other.abort('why')
  expect([limited.signal!.aborted, limited.signal!.reason]).toEqual([true, 'why'])
})
