import { map } from '@kiruna/core/mmap'
import { makeFile } from './cold-file.ts'
import type { Bench } from './main.ts'
import { alternate } from './rivals.ts'
import { Turns } from './turns.ts'

const fileBytes = 1024 * 1024 * 1024

/** Giving back a gigabyte that is in memory: for how long does the thread stand still? */
export const mapClose: Bench = {
  name: 'map-close',
  async run() {
    using file = makeFile('map-close', fileBytes)
    const round = async (work: () => Promise<void>) => {
      const turns = new Turns()
      await work()
      turns.end()
      return turns.longestMs
    }
    const medians = await alternate(
      {
        'nothing at all, for as long': () => round(() => new Promise(resolve => setTimeout(resolve, 50))),
        kiruna: async () => {
          const mapping = await map(file.path, 'user-visible')
          await mapping.prefault(0, fileBytes, 'user-visible')
          mapping.view(0, 1)
          return round(() => mapping.close())
        },
      },
      9,
    )
    return [
      {
        question: 'closing a warm GiB: longest turn',
        unit: 'ms',
        better: 'less',
        medians,
        target: { bound: 1 },
      },
    ]
  },
}
