import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { assertRejectsWith, assertThrowsWith } from '../outcomes.ts'
import type { StreamContract } from './contract.ts'

const TYPE = [TypeError, 'ERR_INVALID_ARG_TYPE'] as const
const VALUE = [TypeError, 'ERR_INVALID_ARG_VALUE'] as const
const RANGE = [RangeError, 'ERR_OUT_OF_RANGE'] as const

const badSources = [
  [undefined, TYPE],
  [null, TYPE],
  [{}, TYPE],
  [new Uint8Array(3), TYPE],
  ['a\0b', VALUE],
  [new URL('http://localhost/a'), [TypeError, 'ERR_INVALID_URL_SCHEME']],
  [-1, RANGE],
  [1.5, RANGE],
  [Number.NaN, RANGE],
  [2 ** 31, RANGE],
] as const

const badCallers = [
  [undefined, TYPE],
  [null, TYPE],
  [1, TYPE],
  [{}, TYPE],
  [new AbortController().signal, TYPE],
  ['urgent', VALUE],
  [{ priority: 'urgent' }, VALUE],
  [{ priority: 'background', signal: {} }, TYPE],
] as const

export const badArguments: StreamContract[] = [
  {
    name: 'a bad source, sink or caller: read and write throw at once, all rejects',
    async run(stream) {
      for (const [given, [Kind, code]] of badSources) {
        const source = given as string
        assertThrowsWith(() => stream.read(source, 'background'), Kind, code, `read ${given}`)
        assertThrowsWith(() => stream.write(source, 'background'), Kind, code, `write ${given}`)
        await assertRejectsWith(() => stream.all(source, 'background'), Kind, code, `all ${given}`)
      }
      for (const [given, [Kind, code]] of badCallers) {
        const caller = given as 'background'
        assertThrowsWith(() => stream.read('file', caller), Kind, code, `read for ${given}`)
        assertThrowsWith(() => stream.write('file', caller), Kind, code, `write for ${given}`)
        await assertRejectsWith(() => stream.all('file', caller), Kind, code, `all for ${given}`)
      }
    },
  },
  {
    name: 'bad options throw at once',
    async run(stream, test) {
      for (const [chunkBytes, [Kind, code]] of [
        [0, RANGE],
        [-1, RANGE],
        [1.5, RANGE],
        [Number.POSITIVE_INFINITY, RANGE],
        ['1', TYPE],
        [null, TYPE],
      ] as const) {
        const call = () => stream.read('file', 'background', { chunkBytes: chunkBytes as number })
        assertThrowsWith(call, Kind, code, `chunkBytes: ${chunkBytes}`)
      }
      const path = join(test.folder, 'never made')
      for (const [flags, [Kind, code]] of [
        ['', VALUE],
        ['rw', VALUE],
        [null, VALUE],
        [-1, RANGE],
        [1.5, RANGE],
      ] as const) {
        const call = () => stream.write(path, 'background', { flags: flags as string })
        assertThrowsWith(call, Kind, code, `flags: ${flags}`)
      }
      assert.deepEqual(readdirSync(test.folder), [])
    },
  },
  {
    name: 'bad bytes reject, and the next write goes on',
    async run(stream, test) {
      const out = stream.write(join(test.folder, 'file'), 'background')
      const detached = new Uint8Array(8)
      structuredClone(detached.buffer, { transfer: [detached.buffer] })
      for (const [index, [given, [Kind, code]]] of (
        [
          [undefined, TYPE],
          [null, TYPE],
          [42, TYPE],
          [[1, 2], TYPE],
          [new ArrayBuffer(8), TYPE],
          [new Uint16Array(8), TYPE],
          [detached, [TypeError, 'ERR_INVALID_STATE']],
          [new Uint8Array(new ArrayBuffer(8, { maxByteLength: 16 })), VALUE],
        ] as const
      ).entries()) {
        await assertRejectsWith(() => out.write(given as unknown as string), Kind, code, `bytes ${index}`)
      }
      await out.write('bytes')
      await out.end()
    },
  },
]
