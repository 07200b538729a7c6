import assert from 'node:assert/strict'
import { truncateSync } from 'node:fs'
import { priorities } from '@kiruna/priority'
import type { Contract, File } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { CountingAsker, rejection, turns } from '../outcomes.ts'

type Options = Parameters<File['chunks']>[1]

async function collect(opened: File, options?: Options) {
  const list = []
  for await (const { position, bytes } of opened.chunks('user-visible', options))
    list.push({ position, bytes })
  return list
}

export const chunks: Contract[] = [
  {
    name: 'chunks come in order, of the size asked for, the last one shorter',
    async run(seek, test) {
      const content = pattern(10_500)
      const opened = await seek.open(file(test, 'file', content), 'user-visible')
      const list = await collect(opened, { chunkBytes: 1000 })
      assert.deepEqual(
        list.map(({ position, bytes }) => [position, bytes.length]),
        [...Array.from({ length: 10 }, (_, index) => [index * 1000, 1000]), [10_000, 500]],
      )
      assert.ok(Buffer.concat(list.map(({ bytes }) => bytes)).equals(content))
      await opened.close()
    },
  },
  {
    name: 'a chunk is 256 KiB unless said otherwise, at each priority',
    async run(seek, test) {
      const content = pattern(MiB + 1)
      const opened = await seek.open(file(test, 'file', content), 'user-visible')
      for (const priority of priorities) {
        const list = []
        for await (const { bytes } of opened.chunks(priority)) list.push(bytes)
        assert.deepEqual(
          list.map(bytes => bytes.length),
          [256 * KiB, 256 * KiB, 256 * KiB, 256 * KiB, 1],
        )
        assert.ok(Buffer.concat(list).equals(content))
      }
      await opened.close()
    },
  },
  {
    name: 'a file of exact multiples ends without an empty chunk, and an empty file has none',
    async run(seek, test) {
      const full = await seek.open(file(test, 'full', pattern(3000)), 'user-visible')
      assert.deepEqual(
        (await collect(full, { chunkBytes: 1000 })).map(({ bytes }) => bytes.length),
        [1000, 1000, 1000],
      )
      assert.equal((await collect(full, { position: 3000 })).length, 0)
      assert.equal((await collect(full, { lengthBytes: 0 })).length, 0)
      const empty = await seek.open(file(test, 'empty', ''), 'user-visible')
      assert.equal((await collect(empty)).length, 0)
      await Promise.all([full.close(), empty.close()])
    },
  },
  {
    name: 'position and lengthBytes bound what is read',
    async run(seek, test) {
      const content = pattern(10_000)
      const opened = await seek.open(file(test, 'file', content), 'user-visible')
      for (const [position, lengthBytes] of [
        [0, 1],
        [1, 999],
        [500, 1000],
        [500, 2500],
        [9000, 5000],
        [20_000, 10],
      ] as const) {
        const list = await collect(opened, { position, lengthBytes, chunkBytes: 1000 })
        assert.equal(list[0]?.position, position < content.length ? position : undefined)
        const bytes = Buffer.concat(list.map(({ bytes }) => bytes))
        assert.ok(
          bytes.equals(content.subarray(position, position + lengthBytes)),
          `${lengthBytes} at ${position}`,
        )
      }
      await opened.close()
    },
  },
  {
    name: 'each chunk begins with the overlap, and nothing comes twice at the end',
    async run(seek, test) {
      // The last: where what follows the border is less than, exactly, or more than the overlap.
      for (const sizeBytes of [0, 50, 1000, 1001, 1900, 1901, 1999, 2000, 2800, 10_000]) {
        const content = pattern(sizeBytes)
        const opened = await seek.open(file(test, `${sizeBytes}`, content), 'user-visible')
        const list = await collect(opened, { chunkBytes: 1000, overlapBytes: 100 })
        let end = 0
        list.forEach(({ position, bytes }, index) => {
          assert.equal(position, index * 900)
          assert.ok(bytes.equals(content.subarray(position, position + 1000)))
          assert.ok(position + bytes.length > end, `a chunk of nothing new, ${sizeBytes}`)
          end = position + bytes.length
        })
        assert.equal(end, sizeBytes)
        await opened.close()
      }
    },
  },
  {
    name: 'chunks are read ahead, but not far',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', pattern(MiB)), 'user-visible')
      let delivered = 0
      const asker = {
        priority: 'user-visible' as const,
        deliver(job: () => void) {
          delivered++
          job()
        },
      }
      const iterator = opened.chunks(asker, { chunkBytes: 1000 })
      await iterator.next()
      while (delivered < 2) await turns(1) // without read-ahead this would wait for ever
      await turns(200)
      assert.ok(delivered <= 4, `${delivered} chunks were read for one that was taken`)
      await iterator.return()
      await opened.close()
    },
  },
  {
    name: 'leaving chunks early cancels the rest',
    async run(seek, test) {
      const path = file(test, 'file', pattern(4 * MiB))
      truncateSync(path, 64 * MiB)
      for (let round = 0; round < 5; round++) {
        const opened = await seek.open(path, 'user-visible')
        const caller = new CountingAsker('background')
        let askedUntilNow = 0
        for await (const { position, bytes } of opened.chunks(caller, { chunkBytes: 4 * MiB })) {
          assert.equal(bytes.length, 4 * MiB)
          askedUntilNow = caller.asked
          if (position === 4 * MiB * (round % 3)) break
        }
        await opened.close() // when no read is under way any more
        assert.ok(caller.asked < askedUntilNow + 10, `${caller.asked - askedUntilNow} pieces after the end`)
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an abort ends chunks with its reason, and so does an error',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', pattern(4 * MiB)), 'user-visible')
      const controller = new AbortController()
      const reason = new Error('enough')
      const taken = (async () => {
        for await (const { position } of opened.chunks(
          { priority: 'background', signal: controller.signal },
          { chunkBytes: 64 * KiB },
        )) {
          if (position > MiB) controller.abort(reason)
        }
      })()
      assert.equal(await rejection(taken), reason)
      await opened.close()
      assert.equal((await rejection(collect(opened))).code, 'EBADF')
    },
  },
]
