import assert from 'node:assert/strict'
import { truncateSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { priorities } from '@kiruna/priority'
import type { Contract, Test } from '../contract.ts'
import { assertAllClosed, file, KiB, MiB, pattern } from '../files.ts'
import { CountingAsker, rejection, turns } from '../outcomes.ts'

function files(test: Test, count: number, bytes: (index: number) => number): string[] {
  return Array.from({ length: count }, (_, index) =>
    file(test, `file ${index}`, pattern(bytes(index), index)),
  )
}

const small = (index: number) => (index * 997) % 5000

export const manyFiles: Contract[] = [
  {
    name: 'readMany gives each file once, with its content, at each priority',
    async run(seek, test) {
      const paths = files(test, 300, index => (index % 50 === 0 ? 200 * KiB : small(index)))
      for (const priority of priorities) {
        const seen = new Map<unknown, Buffer>()
        for await (const result of seek.readMany(paths, priority)) {
          assert.equal(result.error, undefined)
          assert.ok(!seen.has(result.path))
          seen.set(result.path, result.bytes!)
        }
        assert.equal(seen.size, paths.length)
        paths.forEach((path, index) => {
          const bytes = seen.get(path)!
          assert.ok(bytes.equals(pattern(bytes.length, index)), path)
          assert.equal(bytes.length, index % 50 === 0 ? 200 * KiB : small(index))
        })
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'readMany takes any iterable, asynchronous ones too, and gives each path back as it was given',
    async run(seek, test) {
      const [a, b, c] = files(test, 3, () => 10)
      const forms = [a!, Buffer.from(b!), pathToFileURL(c!)]
      async function* walk() {
        for (const form of forms) {
          await turns(3)
          yield form
        }
      }
      for (const source of [forms, new Set(forms), forms.values(), walk()]) {
        const seen = new Set()
        for await (const { path, bytes } of seek.readMany(source, 'background')) {
          assert.equal(bytes?.length, 10)
          seen.add(path)
        }
        assert.deepEqual(seen, new Set(forms))
      }
      for await (const result of seek.readMany([], 'background')) assert.fail(`${result.path}`)
    },
  },
  {
    name: 'readMany gives results in the order in which they complete',
    async run(seek, test) {
      const large = file(test, 'large', '')
      truncateSync(large, 48 * MiB)
      const [a, b] = files(test, 2, () => 100)
      const order = []
      for await (const { path } of seek.readMany([large, a!, b!], 'background', {
        bufferedBytes: 64 * MiB,
      })) {
        order.push(path)
      }
      assert.equal(order.length, 3)
      assert.equal(order[2], large, 'a small file has waited for a large one')
    },
  },
  {
    name: 'a file that cannot be read is a result with its error, and the others go on',
    async run(seek, test) {
      const paths = files(test, 20, () => 100)
      function* vanishing() {
        yield join(test.folder, 'missing')
        yield test.folder
        yield 'null\0byte'
        for (const [index, path] of paths.entries()) {
          if (index % 2 === 1) unlinkSync(path)
          yield path
        }
      }
      const results = new Map<unknown, string | undefined>()
      for await (const { path, bytes, error } of seek.readMany(vanishing(), 'background')) {
        results.set(path, error?.code)
        assert.equal(bytes === undefined, error !== undefined)
        if (error?.code === 'ENOENT') {
          assert.ok(error instanceof Error)
          assert.deepEqual([error.path, error.syscall], [path, 'open'])
        }
      }
      assert.equal(results.size, 23)
      assert.equal(results.get(join(test.folder, 'missing')), 'ENOENT')
      assert.equal(results.get(test.folder), 'EISDIR')
      assert.equal(results.get('null\0byte'), 'ERR_INVALID_ARG_VALUE')
      paths.forEach((path, index) => {
        assert.equal(results.get(path), index % 2 === 1 ? 'ENOENT' : undefined)
      })
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a file beyond maxFileBytes is a result with ERR_FS_FILE_TOO_LARGE',
    async run(seek, test) {
      for (const maxFileBytes of [0, 1000, 32 * KiB, 300 * KiB]) {
        const paths = [0, 1].map(more =>
          file(test, `${maxFileBytes} + ${more}`, pattern(maxFileBytes + more)),
        )
        const results = new Map<unknown, string | number | undefined>()
        for await (const { path, bytes, error } of seek.readMany(paths, 'background', { maxFileBytes })) {
          results.set(path, error?.code ?? bytes?.length)
        }
        assert.deepEqual(
          paths.map(path => results.get(path)),
          [maxFileBytes, 'ERR_FS_FILE_TOO_LARGE'],
        )
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a slow consumer holds readMany back: about bufferedBytes wait to be taken',
    async run(seek, test) {
      const [bufferedBytes, fileBytes] = [512 * KiB, 64 * KiB]
      const paths = files(test, 60, () => fileBytes)
      for (const priority of ['user-blocking', 'background'] as const) {
        let pulled = 0
        let taken = 0
        function* counted() {
          for (const path of paths) {
            pulled++
            yield path
          }
        }
        for await (const { bytes } of seek.readMany(counted(), priority, { bufferedBytes })) {
          assert.equal(bytes?.length, fileBytes)
          taken++
          if (taken <= 12) await setTimeout(5) // time enough to read everything, were it not held back
          const waitingBytes = (pulled - taken) * fileBytes
          assert.ok(waitingBytes <= bufferedBytes + fileBytes, `${waitingBytes} bytes wait, ${taken} taken`)
        }
        assert.equal(taken, paths.length)
      }
    },
  },
  {
    name: 'one file larger than bufferedBytes is read all the same',
    async run(seek, test) {
      const paths = files(test, 3, () => MiB)
      let taken = 0
      for await (const { bytes } of seek.readMany(paths, 'background', { bufferedBytes: 1 })) {
        assert.equal(bytes?.length, MiB)
        taken++
      }
      assert.equal(taken, 3)
    },
  },
  {
    name: 'several may take from one readMany at once; after its end it stays ended',
    async run(seek, test) {
      const paths = files(test, 50, small)
      const results = seek.readMany(paths, 'user-blocking')
      const steps = await Promise.all(Array.from({ length: 60 }, () => results.next()))
      assert.equal(new Set(steps.map(({ value }) => value?.path)).size, 51)
      assert.equal(steps.filter(({ done }) => done).length, 10)
      assert.deepEqual(await results.next(), { done: true, value: undefined })
    },
  },
  {
    name: 'leaving readMany cancels what is under way, closes the source, and leaks no descriptor',
    async run(seek, test) {
      const paths = files(test, 200, index => (index % 5 === 0 ? 500 * KiB : small(index)))
      for (let round = 0; round < 30; round++) {
        let closed = false
        function* source() {
          try {
            yield* paths
          } finally {
            closed = true
          }
        }
        let taken = 0
        const caller = new CountingAsker(priorities[round % 4]!)
        const results = seek.readMany(source(), caller)
        for await (const { error } of results) {
          assert.equal(error, undefined)
          if (++taken > round) break
        }
        assert.equal(taken, round + 1)
        const askedUntilNow = caller.asked
        assert.ok(closed, 'the source was not closed')
        assert.equal((await results.next()).done, true)
        await assertAllClosed(test.folder)
        assert.ok(caller.asked < askedUntilNow + 10, `${caller.asked - askedUntilNow} pieces after the end`)
      }
    },
  },
  {
    name: "an abort of the caller's signal ends readMany with its reason: in the middle",
    async run(seek, test) {
      const paths = files(test, 200, index => (index % 5 === 0 ? 500 * KiB : small(index)))
      for (let round = 0; round < 20; round++) {
        const controller = new AbortController()
        const reason = new Error('enough')
        let taken = 0
        const loop = (async () => {
          const caller = { priority: priorities[round % 4]!, signal: controller.signal }
          for await (const { error } of seek.readMany(paths, caller)) {
            assert.equal(error, undefined, 'an abort is no result')
            if (++taken > round) controller.abort(reason)
          }
        })()
        assert.equal(await rejection(loop), reason)
        assert.equal(taken, round + 1)
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: "an abort of the caller's signal ends readMany with its reason: while results wait to be taken",
    async run(seek, test) {
      const controller = new AbortController()
      const reason = new Error('enough')
      const paths = files(test, 3, () => 100)
      let delivered = 0
      const results = seek.readMany(paths, {
        priority: 'background',
        signal: controller.signal,
        deliver(job) {
          job()
          delivered++
        },
      })
      await results.next()
      while (delivered < 3) await turns(1)
      await turns(1)
      controller.abort(reason)
      assert.equal(await rejection(results.next()), reason)
      assert.equal((await results.next()).done, true)
    },
  },
  {
    name: "an abort of the caller's signal ends readMany with its reason: while the source keeps it waiting",
    async run(seek, test) {
      const controller = new AbortController()
      const reason = new Error('enough')
      const [path] = files(test, 1, () => 100)
      async function* slow() {
        yield path!
        await new Promise(() => {})
      }
      const results = seek.readMany(slow(), { priority: 'background', signal: controller.signal })
      assert.equal((await results.next()).value?.path, path)
      const next = rejection(results.next())
      await turns(5)
      controller.abort(reason)
      const outcome = await Promise.race([next, setTimeout(5000, 'it still waits for the source')])
      assert.equal(outcome, reason)
    },
  },
  {
    name: 'leaving readMany does not wait for a source that keeps it waiting',
    async run(seek, test) {
      const paths = files(test, 3, () => 100)
      async function* slow() {
        yield* paths
        await new Promise(() => {})
      }
      for await (const { path } of seek.readMany(slow(), 'background')) {
        if (path === paths[2]) break
      }
    },
  },
  {
    name: 'an abort closes the source as leaving the loop does',
    async run(seek, test) {
      const controller = new AbortController()
      const paths = files(test, 200, () => 50 * KiB)
      let closed = false
      function* source() {
        try {
          yield* paths
        } finally {
          closed = true
        }
      }
      const caller = { priority: 'background', signal: controller.signal } as const
      const results = seek.readMany(source(), caller, { bufferedBytes: 100 * KiB })
      await results.next()
      controller.abort()
      await rejection(results.next())
      await turns(2)
      assert.ok(closed, 'the source was not closed')
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'an error of the source ends readMany with that error',
    async run(seek, test) {
      const paths = files(test, 10, () => 100)
      const failure = new Error('the walk failed')
      function* failing() {
        yield* paths
        throw failure
      }
      async function* failingLater() {
        yield* paths
        await turns(3)
        throw failure
      }
      for (const source of [failing, failingLater]) {
        const results = seek.readMany(source(), 'background')
        const loop = (async () => {
          for await (const { error } of results) assert.equal(error, undefined)
        })()
        assert.equal(await rejection(loop), failure)
        assert.equal((await results.next()).done, true)
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'a source may answer with a thenable that is no promise of this realm',
    async run(seek, test) {
      const [path] = files(test, 1, () => 10)
      let asked = 0
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: () => {
            asked++
            const step = asked === 1 ? { done: false, value: path } : { done: true, value: undefined }
            // biome-ignore lint/suspicious/noThenProperty: that is what this is about
            return { then: (resolve: (step: unknown) => void) => void resolve(step) }
          },
        }),
      }
      const seen = []
      for await (const result of seek.readMany(source as unknown as AsyncIterable<string>, 'background')) {
        seen.push(result.path)
      }
      assert.deepEqual(seen, [path])
      assert.equal(asked, 2)
    },
  },
  {
    name: 'what cannot be read is not taken without end while nobody takes the results',
    async run(seek, test) {
      let pulled = 0
      function* missing() {
        for (;;) yield join(test.folder, `missing ${pulled++}`)
      }
      const results = seek.readMany(missing(), 'background', { bufferedBytes: 64 * KiB })
      await results.next()
      await turns(200)
      assert.ok(pulled < 200, `${pulled} paths were pulled`)
      await results.return!()
    },
  },
]
