import { expect, test } from 'vitest'
import { type Scope, spawn, type Task } from '../src/default-scheduler.ts'

const depth = 100_000

/** A chain of tasks, each the child of the one before, all of which sleep. */
async function chain(): Promise<{ root: Task<void>; scopes: Scope[] }> {
  const scopes: Scope[] = []
  const next = async (scope: Scope): Promise<void> => {
    if (scopes.push(scope) < depth) scope.spawn(next)
    await scope.sleep(1e6)
  }
  const root = spawn('background', next)
  while (scopes.length < depth) await new Promise(resolve => setImmediate(resolve))
  return { root, scopes }
}

test('a chain of tasks that is longer than the stack can be raised, paused and cancelled', async () => {
  const { root, scopes } = await chain()
  root.priority = 'user-visible'
  expect(scopes.at(-1)!.priority).toBe('user-visible')
  const boost = root.boost('realtime')
  expect(scopes.at(-1)!.priority).toBe('realtime')
  boost[Symbol.dispose]()
  expect(scopes.at(-1)!.priority).toBe('user-visible')
  root.pause()[Symbol.dispose]()
  root.cancel('enough')
  await expect(root).rejects.toBe('enough')
})

test('and it may fail at its end', async () => {
  let left = depth
  const error = new Error('at the end')
  const next = async (scope: Scope): Promise<void> => {
    if (--left === 0) throw error
    await scope.yield()
    scope.spawn(next)
  }
  await expect(spawn('background', next)).rejects.toBe(error)
})

test('a poll that is written as a recursion ends', async () => {
  let left = depth
  const again = async (scope: Scope): Promise<void> => {
    if (--left === 0) return
    await scope.yield()
    scope.spawn(again)
  }
  await spawn('background', again)
  expect(left).toBe(0)
})

test('tasks that wait for one another in a long row are raised together', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const scopes: Scope[] = []
  let last: Task<void> = spawn('background', async scope => {
    scopes.push(scope)
    await scope.run(promise)
  })
  for (let i = 1; i < 20_000; i++) {
    const waitsFor = last
    last = spawn('background', scope => {
      scopes.push(scope)
      return scope.run(waitsFor)
    })
  }
  while (scopes.length < 20_000) await new Promise(resolve => setImmediate(resolve))
  last.priority = 'user-visible'
  expect(scopes[0]!.priority).toBe('user-visible')
  resolve()
  await last
})

test('a task that is cancelled while something more urgent has the thread settles at once', async () => {
  let isOver = false
  const urgent = spawn('realtime', async scope => {
    while (!isOver) await scope.yield()
  })
  const starving = spawn('background', () => 'never')
  starving.cancel('enough')
  await expect(starving).rejects.toBe('enough')
  isOver = true
  await urgent
})

test('a listener that throws is an uncaught exception, and the others hear of the change', async () => {
  const uncaught: unknown[] = []
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', error => uncaught.push(error))
  try {
    const task = spawn('background', scope => scope.sleep(1e6))
    const error = new Error('mine')
    let heard = 0
    task.onPriorityChange(() => {
      throw error
    })
    task.onPriorityChange(() => heard++)
    task.priority = 'realtime'
    task.cancel('enough')
    await expect(task).rejects.toBe('enough')
    await new Promise(resolve => setImmediate(resolve))
    expect([heard, uncaught]).toEqual([1, [error]])
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const other of others) process.on('uncaughtException', other)
  }
})
