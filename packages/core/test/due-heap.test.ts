import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DueHeap, type Sleeper } from '../src/due-heap.ts'

describe('those that wait for a time', () => {
  test('wake when they are due, the earliest first, whoever left before; the next is always the earliest', () => {
    const command = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), dueMs: fc.integer({ min: 0, max: 50 }) }),
      fc.record({ kind: fc.constant('remove' as const), which: fc.nat() }),
      fc.record({ kind: fc.constant('wake' as const), nowMs: fc.integer({ min: 0, max: 50 }) }),
    )
    fc.assert(
      fc.property(fc.array(command, { maxLength: 200 }), commands => {
        const sleepers = new DueHeap<Sleeper>()
        const model = new Set<Sleeper>()
        const woken: Sleeper[] = []
        for (const command of commands) {
          if (command.kind === 'add') {
            const sleeper: Sleeper = { dueMs: command.dueMs, place: -1, wake: () => woken.push(sleeper) }
            sleepers.add(sleeper)
            model.add(sleeper)
          } else if (command.kind === 'remove') {
            const sleeper = [...model][command.which % Math.max(model.size, 1)]
            if (sleeper === undefined) continue
            sleepers.remove(sleeper)
            sleepers.remove(sleeper)
            model.delete(sleeper)
          } else {
            woken.length = 0
            while (sleepers.nextMs <= command.nowMs) {
              const { first } = sleepers
              sleepers.remove(first!)
              first!.wake()
            }
            // Those that are due at the same time keep the order of their arrival: so does a stable sort.
            const due = [...model].filter(({ dueMs }) => dueMs <= command.nowMs)
            expect(woken).toEqual(due.sort((a, b) => a.dueMs - b.dueMs))
            for (const sleeper of due) model.delete(sleeper)
          }
          expect(sleepers.nextMs).toBe(
            Math.min(Number.POSITIVE_INFINITY, ...[...model].map(({ dueMs }) => dueMs)),
          )
        }
      }),
    )
  })
})
