import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Link, LinkedList } from '../src/linked-list.ts'

test('those that have not left are there, in their order', () => {
  const command = fc.oneof(
    fc.record({ do: fc.constantFrom('add', 'addFirst'), at: fc.constant(0) }),
    fc.record({ do: fc.constant('remove'), at: fc.nat() }),
  )
  fc.assert(
    fc.property(fc.array(command, { maxLength: 100 }), commands => {
      const list = new LinkedList<number>()
      const links: Link<number>[] = []
      for (const [i, command] of commands.entries()) {
        if (command.do === 'add') links.push(list.add(i))
        else if (command.do === 'addFirst') links.unshift(list.addFirst(i))
        else if (links.length > 0) {
          const link = links.splice(command.at % links.length, 1)[0]!
          list.remove(link)
          list.remove(link)
        }
        expect([...list]).toEqual(links.map(({ item }) => item))
        expect(list.first?.item).toBe(links[0]?.item)
      }
    }),
  )
})
