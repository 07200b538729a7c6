import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Caller } from '@kiruna/priority'
import type { Contract, Seek } from '../contract.ts'
import { file, KiB } from '../files.ts'
import { assertRejectsWith, assertThrowsWith } from '../outcomes.ts'

const TYPE = [TypeError, 'ERR_INVALID_ARG_TYPE'] as const
const VALUE = [TypeError, 'ERR_INVALID_ARG_VALUE'] as const
const RANGE = [RangeError, 'ERR_OUT_OF_RANGE'] as const
const STATE = [TypeError, 'ERR_INVALID_STATE'] as const
const SCHEME = [TypeError, 'ERR_INVALID_URL_SCHEME'] as const

type Bad = [
  what: string,
  value: unknown,
  error: typeof TYPE | typeof VALUE | typeof RANGE | typeof STATE | typeof SCHEME,
]

const badPaths: Bad[] = [
  ['no path', undefined, TYPE],
  ['null', null, TYPE],
  ['a number', 42, TYPE],
  ['an object', {}, TYPE],
  ['a Uint8Array', new Uint8Array(3), TYPE],
  ['a null byte', 'a\0b', VALUE],
  ['a null byte in a Buffer', Buffer.from('a\0b'), VALUE],
  ['a null byte in a URL', new URL('file:///C:/a%00b'), VALUE],
  ['an http: URL', new URL('http://localhost/a'), SCHEME],
]

const badCallers: Bad[] = [
  ['no caller', undefined, TYPE],
  ['null', null, TYPE],
  ['a number', 1, TYPE],
  ['an object without a priority', {}, TYPE],
  ['an AbortSignal without a priority', new AbortController().signal, TYPE],
  ['an unknown priority', 'urgent', VALUE],
  ['an empty string', '', VALUE],
  ['a name that every object has', 'constructor', VALUE],
  ['an asker with an unknown priority', { priority: 'urgent' }, VALUE],
  ['an asker without a priority', { priority: undefined }, VALUE],
]

const badCounts: Bad[] = [
  ['null', null, TYPE],
  ['a string', '0', TYPE],
  ['a bigint', 0n, TYPE],
  ['negative', -1, RANGE],
  ['a fraction', 1.5, RANGE],
  ['NaN', Number.NaN, RANGE],
  ['Infinity', Number.POSITIVE_INFINITY, RANGE],
  ['beyond what a number can count', 2 ** 53, RANGE],
]

function detachedBuffer(): Buffer {
  const buffer = Buffer.from(new ArrayBuffer(16))
  structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
  return buffer
}

// The types of the browser, where it is declared, are not ours.
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    Memory: new (size: { initial: number; maximum: number; shared?: boolean }) => { buffer: ArrayBuffer }
  }
}

/** WebAssembly's memory goes away when it grows. */
function webAssemblyBuffers(): Bad[] {
  const buffers: Bad[] = []
  for (const pages of [1, 2, 3]) {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: 10 })
    const shared = new WebAssembly.Memory({ initial: pages, maximum: 10, shared: true })
    // One page has the size of Buffer's own pool on some versions: there a short view cannot be told from a Buffer.
    if (pages * 64 * KiB !== Buffer.poolSize) {
      buffers.push([`${pages} pages of WebAssembly`, new Uint8Array(memory.buffer, 0, 16), VALUE])
    }
    buffers.push([`${pages} pages of shared WebAssembly`, new Uint8Array(shared.buffer), VALUE])
  }
  return buffers
}

function badBuffers(): Bad[] {
  const resizable = new ArrayBuffer(16, { maxByteLength: 32 })
  const growable = new SharedArrayBuffer(16, { maxByteLength: 32 })
  return [
    ['no buffer', undefined, TYPE],
    ['null', null, TYPE],
    ['a number', 16, TYPE],
    ['a string', 'sixteen', TYPE],
    ['an array', [1, 2, 3], TYPE],
    ['an ArrayBuffer itself', new ArrayBuffer(16), TYPE],
    ['detached', detachedBuffer(), STATE],
    ['resizable', new Uint8Array(resizable), VALUE],
    ['resizable, of fixed length', new Uint8Array(resizable, 0, 8), VALUE],
    ['growable', new Uint8Array(growable), VALUE],
  ]
}

const badFlags: Bad[] = [
  ['a letter that is none', 'q', VALUE],
  ['an empty string', '', VALUE],
  ['a name that every object has', 'toString', VALUE],
  ['two letters too many', 'rw+', VALUE],
  ['an object', {}, VALUE],
  ['a negative number', -1, RANGE],
  ['a fraction', 0.5, RANGE],
  ['NaN', Number.NaN, RANGE],
]

/** Every function that returns a promise, with a path and a caller. */
function byPath(seek: Seek, path: string, caller: 'background'): [string, () => Promise<unknown>][] {
  return [
    ['open', () => seek.open(path, caller)],
    ['open for writing', () => seek.open(path, caller, { flags: 'w' })],
    ['readAll', () => seek.readAll(path, caller)],
    ['stat', () => seek.stat(path, caller)],
    ['readdir', () => seek.readdir(path, caller)],
  ]
}

export const badArguments: Contract[] = [
  {
    name: 'a bad path rejects',
    async run(seek) {
      for (const [what, path, [Kind, code]] of badPaths) {
        for (const [name, call] of byPath(seek, path as string, 'background')) {
          await assertRejectsWith(call, Kind, code, `${name}, ${what}`)
        }
      }
    },
  },
  {
    name: 'an unknown priority or a missing caller rejects, and starts nothing',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'content'), 'background')
      const path = join(test.folder, 'never made')
      const buffer = Buffer.alloc(7)
      for (const [what, given, [Kind, code]] of badCallers) {
        const caller = given as 'background'
        for (const [name, call] of byPath(seek, path, caller)) {
          await assertRejectsWith(call, Kind, code, `${name}, ${what}`)
        }
        await assertRejectsWith(() => opened.read(buffer, 0, caller), Kind, code, `read, ${what}`)
        await assertRejectsWith(
          () => opened.read(Buffer.alloc(0), 0, caller),
          Kind,
          code,
          `read nothing, ${what}`,
        )
        await assertRejectsWith(() => opened.stat(caller), Kind, code, `fstat, ${what}`)
      }
      await opened.close() // it would wait for ever for an operation that was counted and never ran
      assert.ok(!existsSync(path))
      assert.deepEqual(buffer, Buffer.alloc(7))
    },
  },
  {
    name: 'a caller whose signal is none rejects, and does not hold up a close',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'content'), 'background')
      const caller = { priority: 'background', signal: {} } as unknown as Caller
      await assertRejectsWith(
        () => opened.read(Buffer.alloc(4), 0, caller),
        TypeError,
        'ERR_INVALID_ARG_TYPE',
        'read',
      )
      await assertRejectsWith(() => opened.stat(caller), TypeError, 'ERR_INVALID_ARG_TYPE', 'stat')
      await opened.close()
    },
  },
  {
    name: 'a bad position rejects',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'content'), 'background')
      const buffer = Buffer.alloc(7)
      for (const [what, position, [Kind, code]] of [...badCounts, ['missing', undefined, TYPE] as Bad]) {
        for (const bytes of [buffer, Buffer.alloc(0)]) {
          const call = () => opened.read(bytes, position as number, 'background')
          await assertRejectsWith(call, Kind, code, `${bytes.length} bytes, ${what}`)
        }
      }
      assert.deepEqual(buffer, Buffer.alloc(7))
      await opened.close()
    },
  },
  {
    name: 'memory that may go away under a read is refused: detached, resizable, growable',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'content'), 'background')
      for (const [what, buffer, [Kind, code]] of badBuffers()) {
        await assertRejectsWith(() => opened.read(buffer as Buffer, 0, 'background'), Kind, code, what)
      }
      await opened.close()
    },
  },
  {
    name: 'a WebAssembly memory is refused',
    async run(seek, test) {
      if (Number.parseInt(process.versions.node, 10) < 22) {
        return test.skip(`Node ${process.versions.node} cannot tell a WebAssembly memory from another`)
      }
      const opened = await seek.open(file(test, 'file', 'content'), 'background')
      for (const [what, buffer, [Kind, code]] of webAssemblyBuffers()) {
        await assertRejectsWith(() => opened.read(buffer as Buffer, 0, 'background'), Kind, code, what)
      }
      // And what is not one is not refused, though it has the size of one.
      for (const buffer of [Buffer.alloc(64 * KiB), Buffer.alloc(128 * KiB), Buffer.from('from the pool')]) {
        assert.equal(await opened.read(buffer, 0, 'background'), 7)
        assert.equal(String(buffer.subarray(0, 7)), 'content')
      }
      await opened.close()
    },
  },
  {
    name: 'a buffer that is transferred away while its read waits is refused when its turn comes',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', Buffer.alloc(4096, 1)), 'user-blocking')
      const before = Array.from({ length: 32 }, () => opened.read(Buffer.alloc(4096), 0, 'background'))
      const buffer = Buffer.from(new ArrayBuffer(16))
      const call = () => {
        const read = opened.read(buffer, 0, 'background')
        structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
        return read
      }
      await assertRejectsWith(call, ...STATE, 'transferred')
      assert.deepEqual(await Promise.all(before), Array(32).fill(4096))
      await opened.close()
    },
  },
  {
    name: 'bad flags or a bad mode reject, and nothing is made',
    async run(seek, test) {
      const path = join(test.folder, 'never made')
      for (const [what, flags, [Kind, code]] of badFlags) {
        const call = () => seek.open(path, 'background', { flags: flags as string })
        await assertRejectsWith(call, Kind, code, `flags: ${what}`)
      }
      for (const [what, mode, [Kind, code]] of [...badCounts, ['an octal string', '644', TYPE] as Bad]) {
        const call = () => seek.open(path, 'background', { flags: 'w', mode: mode as number })
        await assertRejectsWith(call, Kind, code, `mode: ${what}`)
      }
      assert.deepEqual(readdirSync(test.folder), [])
    },
  },
  {
    name: 'what returns an iterable throws at once',
    async run(seek, test) {
      const opened = await seek.open(file(test, 'file', 'content'), 'background')
      let pulled = false
      const paths = {
        *[Symbol.iterator]() {
          pulled = true
          yield 'file'
        },
      }
      for (const [what, given, [Kind, code]] of badCallers) {
        const caller = given as 'background'
        assertThrowsWith(() => seek.readMany(paths, caller), Kind, code, `readMany, ${what}`)
        assertThrowsWith(() => opened.chunks(caller), Kind, code, `chunks, ${what}`)
      }
      for (const [what, count, [Kind, code]] of badCounts) {
        for (const option of ['bufferedBytes', 'maxFileBytes']) {
          const call = () => seek.readMany(paths, 'background', { [option]: count as number })
          assertThrowsWith(call, Kind, code, `${option}, ${what}`)
        }
        for (const option of ['position', 'lengthBytes', 'chunkBytes', 'overlapBytes']) {
          const call = () => opened.chunks('background', { [option]: count as number })
          assertThrowsWith(call, Kind, code, `${option}, ${what}`)
        }
      }
      for (const given of [undefined, null, 'a single path', 42, {}]) {
        assertThrowsWith(() => seek.readMany(given as string[], 'background'), ...TYPE, `readMany(${given})`)
      }
      assertThrowsWith(() => seek.readMany(paths, 'background', { bufferedBytes: 0 }), ...RANGE, 'no buffer')
      assertThrowsWith(() => opened.chunks('background', { chunkBytes: 0 }), ...RANGE, 'no chunk')
      for (const overlapBytes of [100, 101]) {
        const call = () => opened.chunks('background', { chunkBytes: 100, overlapBytes })
        assertThrowsWith(call, ...RANGE, 'an overlap of a whole chunk')
      }
      assert.ok(!pulled, 'it took a path before it looked at its arguments')
      await opened.close()
    },
  },
]
