import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { MiB, pattern } from '../files.ts'
import { turns } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'
import { pipe } from './pipes.ts'

export const random: StreamContract[] = [
  {
    name: 'whatever is written and read in pieces of any length, left or aborted, comes through once and in order',
    async run(stream, test) {
      let name = 0
      const writes = fc.array(fc.oneof(fc.nat(20), fc.nat(200_000)), { minLength: 1, maxLength: 8 })
      const reads = fc.array(
        fc.record({
          chunkBytes: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 300_000 })),
          pieces: fc.integer({ min: 1, max: 4 }),
          leaves: fc.constantFrom('after', 'return', 'abort'),
          turns: fc.nat(3),
        }),
        { maxLength: 12 },
      )
      await fc.assert(
        fc.asyncProperty(writes, reads, fc.boolean(), async (lengths, readers, isNonblocking) => {
          const { readFd, writeFd, closeWriter, close } = pipe(test, { isNonblocking, name: `${name++}` })
          const sent = pattern(2 * MiB).subarray(
            0,
            lengths.reduce((sum, length) => sum + length, 0),
          )
          const out = stream.write(writeFd, 'user-visible')
          let at = 0
          const written = Promise.all(lengths.map(length => out.write(sent.subarray(at, (at += length)))))
          const ended = written.then(() => out.end()).then(closeWriter)
          const got: Buffer[] = []
          for (const { chunkBytes, pieces, leaves, turns: count } of readers) {
            const controller = new AbortController()
            const iterator = stream.read(
              readFd,
              { priority: 'background', signal: controller.signal },
              { chunkBytes },
            )
            for (let piece = 0; piece < pieces; piece++) {
              const next = iterator.next().then(
                ({ value }) => void (value && got.push(value)),
                reason => assert.equal(reason, 'enough'),
              )
              if (leaves === 'after') await next
              else {
                await turns(count)
                if (leaves === 'return') await iterator.return!()
                else controller.abort('enough')
                await next
                break
              }
            }
            if (leaves === 'after') await iterator.return!()
          }
          got.push(await stream.all(readFd, 'user-visible'))
          await ended
          close()
          assert.ok(Buffer.concat(got).equals(sent))
        }),
        { numRuns: 60, endOnFailure: true },
      )
    },
  },
]
