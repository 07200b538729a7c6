import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Link, LinkedList } from './linked-list.ts'

test('those that have not left are there, in the order of adding', () => {
  const commands = fc.array(fc.option(fc.nat(), { freq: 2 }), { maxLength: 100 })
  fc.assert(
    fc.property(commands, commands => {
      const list = new LinkedList<number>()
      const links: Link<number>[] = []
      for (const [i, leaves] of commands.entries()) {
        if (leaves === null) links.push(list.add(i))
        else if (links.length > 0) list.remove(links.splice(leaves % links.length, 1)[0]!)
        expect([...list]).toEqual(links.map(({ item }) => item))
        expect(list.isEmpty).toBe(links.length === 0)
      }
    }),
  )
})
