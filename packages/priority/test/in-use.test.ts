import { expect, test } from 'vitest'
import { InUse } from '../src/in-use.ts'

test('counts what is under way, and closes when that is nothing', async () => {
  const inUse = new InUse()
  inUse.enter('read')
  inUse.enter('write')
  expect(inUse.count).toBe(2)
  let isFinished = false
  const closed = inUse.close(async () => {
    isFinished = true
  })
  expect(() => inUse.enter('read')).toThrow(expect.objectContaining({ code: 'EBADF', syscall: 'read' }))
  inUse.leave()
  expect(inUse.count).toBe(1)
  await Promise.resolve()
  expect(isFinished).toBe(false)
  inUse.leave()
  await closed
  expect(isFinished).toBe(true)
  expect(inUse.count).toBe(0)
})
