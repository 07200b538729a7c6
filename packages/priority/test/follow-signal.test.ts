import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { follow, unfollow } from '../src/follow-signal.ts'

function followed(signal: AbortSignal) {
  const reasons: unknown[] = []
  return { reasons, link: follow(signal, { abort: reason => reasons.push(reason) }) }
}

test("an abort arrives whatever a user's listener does with the event", () => {
  const controller = new AbortController()
  controller.signal.addEventListener('abort', event => event.stopImmediatePropagation())
  const { reasons } = followed(controller.signal)
  controller.abort('why')
  expect(reasons).toEqual(['why'])
})

test("an 'abort' event that somebody dispatches aborts nothing; a real abort afterwards does", async () => {
  const controller = new AbortController()
  const { reasons } = followed(controller.signal)
  for (let i = 0; i < 3; i++) {
    controller.signal.dispatchEvent(new Event('abort'))
    await Promise.resolve()
  }
  expect(reasons).toEqual([])
  controller.abort('why')
  expect(reasons).toEqual(['why'])
})

test("an abort in the same turn as somebody's event arrives", async () => {
  const controller = new AbortController()
  const { reasons } = followed(controller.signal)
  controller.signal.dispatchEvent(new Event('abort'))
  controller.abort('why')
  await Promise.resolve()
  expect(reasons).toEqual(['why'])
})

test('who has unfollowed hears nothing, and no listener is left', async () => {
  const controller = new AbortController()
  const { reasons, link } = followed(controller.signal)
  controller.signal.dispatchEvent(new Event('abort'))
  unfollow(controller.signal, link)
  await Promise.resolve()
  controller.abort('why')
  expect([reasons, getEventListeners(controller.signal, 'abort').length]).toEqual([[], 0])
})
