import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from '../src/fifo.ts'

test('comes out in the order in which it went in, whatever was taken in between', () => {
  const steps = fc.array(fc.record({ pushed: fc.nat(300), taken: fc.nat(300) }), { maxLength: 20 })
  fc.assert(
    fc.property(steps, steps => {
      const fifo = new Fifo<number>()
      const model: number[] = []
      let next = 0
      for (const { pushed, taken } of steps) {
        for (let i = 0; i < pushed; i++) {
          fifo.push(next)
          model.push(next++)
        }
        for (let i = 0; i < taken && model.length > 0; i++) expect(fifo.shift()).toBe(model.shift())
        expect(fifo.length).toBe(model.length)
      }
    }),
  )
})
