import assert from 'node:assert/strict'
import { readFileSync, truncateSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { priorities } from '@kiruna/priority'
import type { Contract } from '../contract.ts'
import { assertAllClosed, file, GiB, KiB, MiB, pattern } from '../files.ts'
import { rejection } from '../outcomes.ts'

const sizes = [0, 1, 4096, 32 * KiB - 1, 32 * KiB, 32 * KiB + 1, 36 * KiB, 256 * KiB, MiB - 1, 5 * MiB]

export const wholeFiles: Contract[] = [
  {
    name: 'readAll returns the whole file, whatever its size and priority',
    async run(seek, test) {
      for (const sizeBytes of sizes) {
        const content = pattern(sizeBytes, sizeBytes % 100)
        const path = file(test, `${sizeBytes}`, content)
        for (const priority of priorities) {
          const bytes = await seek.readAll(path, priority)
          assert.ok(Buffer.isBuffer(bytes))
          assert.equal(bytes.length, sizeBytes)
          assert.ok(bytes.equals(content), `${sizeBytes} bytes, ${priority}`)
        }
      }
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'many readAll at once do not mix, and their bytes stay theirs',
    async run(seek, test) {
      const paths = Array.from({ length: 150 }, (_, index) =>
        file(test, `${index}`, pattern(sizes[index % 8]! + index, index)),
      )
      const read = () => Promise.all(paths.map((path, index) => seek.readAll(path, priorities[index % 4]!)))
      const first = await read()
      const second = await read()
      for (const all of [first, second]) {
        all.forEach((bytes, index) => {
          assert.ok(bytes.equals(pattern(sizes[index % 8]! + index, index)), `file ${index}`)
        })
      }
      first[0]!.fill(0)
      assert.ok(first.every((bytes, index) => index === 0 || bytes.equals(second[index]!)))
      await assertAllClosed(test.folder)
    },
  },
  {
    name: 'what readAll returned can be read into, and transferred only if it takes nobody else’s bytes along',
    async run(seek, test) {
      const paths = [100, 5000, 8 * KiB, 9 * KiB, 40 * KiB].map((bytes, index) =>
        file(test, `${index}`, pattern(bytes, index)),
      )
      const results = await Promise.all(paths.map(path => seek.readAll(path, 'background')))
      for (const bytes of results) {
        const memory = bytes.buffer
        const sharers = results.filter(other => other.buffer === memory)
        if (sharers.length === 1) continue
        try {
          structuredClone(0, { transfer: [memory as ArrayBuffer] }) // Node 20 leaves it where it is, without a word
        } catch {}
        assert.ok(memory.byteLength > 0)
      }
      results.forEach((bytes, index) => {
        assert.ok(bytes.equals(pattern(bytes.length, index)), `file ${index}`)
      })
      await using opened = await seek.open(paths[1]!, 'background')
      const [first] = results
      assert.equal(await opened.read(first!, 0, 'background'), 100)
      assert.ok(first!.equals(pattern(100, 1)))
    },
  },
  {
    name: 'readAll takes a string, a Buffer or a file: URL',
    async run(seek, test) {
      const path = file(test, 'ä file #1', 'content')
      for (const form of [path, Buffer.from(path), pathToFileURL(path)]) {
        assert.equal(String(await seek.readAll(form, 'user-visible')), 'content')
      }
    },
  },
  {
    name: 'readAll reads files whose size says nothing: /proc',
    async run(seek, test) {
      if (process.platform !== 'linux') return test.skip('only Linux has /proc')
      for (const path of ['/proc/version', '/proc/cpuinfo']) {
        const fields = (text: Buffer | string) => String(text).replace(/MHz.*/g, 'MHz')
        assert.equal(fields(await seek.readAll(path, 'background')), fields(readFileSync(path)))
      }
      // Larger than what a small file needs; its content changes from one moment to the next, its end does not.
      const mappings = String(await seek.readAll('/proc/self/smaps', 'background'))
      assert.ok(mappings.length > 64 * KiB, `only ${mappings.length} bytes`)
      assert.match(mappings, /\nVmFlags:[^\n]*\n$/)
      assert.equal((await seek.readAll('/dev/null', 'background')).length, 0)
    },
  },
  {
    name: 'readAll refuses a file beyond 2 GiB as fs.readFile does',
    async run(seek, test) {
      const path = file(test, 'large', 'x')
      truncateSync(path, 2 * GiB)
      const error = await rejection(seek.readAll(path, 'background'))
      assert.equal(error.code, 'ERR_FS_FILE_TOO_LARGE')
      assert.ok(error instanceof RangeError)
      await assertAllClosed(test.folder)
    },
  },
]
