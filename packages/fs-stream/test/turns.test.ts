import { expect, test } from 'vitest'
import { Turns } from '../src/turns.ts'

function waiter(turns: Turns, name: string, log: string[]) {
  const one = {
    takeTurn() {
      log.push(name)
    },
    leave: () => turns.leave(one),
  }
  turns.enter(one)
  return one
}

test('one at a time, in the order in which they came; one that leaves is passed over', () => {
  const turns = new Turns()
  const log: string[] = []
  const [a, b, c] = ['a', 'b', 'c'].map(name => waiter(turns, name, log))
  expect(log).toEqual(['a'])
  b!.leave()
  expect(log).toEqual(['a'])
  a!.leave()
  expect(log).toEqual(['a', 'c'])
  expect([turns.has(a!), turns.has(c!)].map(Boolean)).toEqual([false, true])
  a!.leave() // it has left already: nobody loses a turn
  waiter(turns, 'd', log)
  expect(log).toEqual(['a', 'c'])
  c!.leave()
  expect(log).toEqual(['a', 'c', 'd'])
})

test('any number may be done at once', () => {
  const turns = new Turns()
  const first = waiter(turns, 'first', [])
  let done = 0
  for (let i = 0; i < 100_000; i++) {
    const one = {
      takeTurn() {
        done++
        turns.leave(one)
      },
    }
    turns.enter(one)
  }
  first.leave()
  expect(done).toBe(100_000)
})
