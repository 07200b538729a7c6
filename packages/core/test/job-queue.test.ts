import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Job, JobQueue } from '../src/job-queue.ts'

const { gc } = globalThis as unknown as { gc(): void }

/** Jobs that can be told apart, each with its number for a context. */
function filled(queue: JobQueue, from: number, to: number): void {
  for (let i = from; i < to; i++) queue.push(jobs[i % jobs.length]!, i)
}
const jobs: Job[] = Array.from({ length: 7 }, () => () => {})

function expectNext(queue: JobQueue, i: number): void {
  expect(queue.nextContext()).toBe(i)
  expect(queue.take()).toBe(jobs[i % jobs.length])
}

test('jobs come out in the order in which they went in, each with its context', () => {
  const queue = new JobQueue()
  filled(queue, 0, 10)
  expect(queue.length).toBe(10)
  for (let i = 0; i < 10; i++) expectNext(queue, i)
  expect(queue.length).toBe(0)
})

test('the order is kept from one chunk to the next', () => {
  const queue = new JobQueue()
  filled(queue, 0, 64)
  for (let i = 0; i < 40; i++) expectNext(queue, i)
  filled(queue, 64, 5000) // several chunks, each twice as long
  for (let i = 40; i < 5000; i++) expectNext(queue, i)
})

test('after a burst the queue is small again, and still in order', () => {
  const queue = new JobQueue()
  for (let burst = 0; burst < 3; burst++) {
    filled(queue, 0, 10_000)
    for (let i = 0; i < 10_000; i++) expectNext(queue, i)
    filled(queue, 0, 100)
    for (let i = 0; i < 100; i++) expectNext(queue, i)
  }
})

test('any pushes and takes are those of an array', () => {
  const step = fc.record({ push: fc.integer({ min: 0, max: 300 }), take: fc.integer({ min: 0, max: 300 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const queue = new JobQueue()
      const model: number[] = []
      let count = 0
      for (const { push, take } of steps) {
        for (let i = 0; i < push; i++) {
          queue.push(jobs[count % jobs.length]!, count)
          model.push(count++)
        }
        for (let i = 0; i < take && model.length > 0; i++) expectNext(queue, model.shift()!)
        expect(queue.length).toBe(model.length)
      }
      while (model.length > 0) expectNext(queue, model.shift()!)
      expect(queue.length).toBe(0)
    }),
    { numRuns: 50 },
  )
})

describe('memory', () => {
  function heldBytes(make: () => unknown): number {
    gc()
    const before = process.memoryUsage().heapUsed
    const held = make()
    gc()
    const bytes = process.memoryUsage().heapUsed - before
    expect(held).toBeDefined() // alive until here
    return bytes
  }

  test('a million queued jobs take at most 24 bytes each', () => {
    const job = () => {}
    const bytes = heldBytes(() => {
      const queue = new JobQueue()
      for (let i = 0; i < 1_000_000; i++) queue.push(job, undefined)
      return queue
    })
    expect(bytes / 1_000_000).toBeLessThanOrEqual(24)
    expect(bytes / 1_000_000).toBeGreaterThan(8) // or nothing was measured
  })

  test('an emptied queue has given back the memory of its burst', () => {
    const job = () => {}
    const bytes = heldBytes(() => {
      const queue = new JobQueue()
      for (let i = 0; i < 1_000_000; i++) queue.push(job, undefined)
      for (let i = 0; i < 1_000_000; i++) queue.take()
      return queue
    })
    expect(bytes).toBeLessThan(1_000_000)
  })

  test('a taken job and its context are not kept', async () => {
    const queue = new JobQueue()
    const taken = (() => {
      const context = {}
      const job = () => {}
      queue.push(job, context)
      queue.take()
      return [new WeakRef(job), new WeakRef(context)]
    })()
    await new Promise(resolve => setImmediate(resolve)) // a WeakRef holds until its turn is over
    gc()
    expect(taken.map(ref => ref.deref())).toEqual([undefined, undefined])
    expect(queue.length).toBe(0)
  })
})
