import * as fs from 'node:fs'
import { closeSync, mkdtempSync, openSync, readSync, rmdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  coded,
  type ErrnoException,
  errnoOf,
  fileTooLarge,
  invalidType,
  outOfRange,
  systemError,
} from '../src/error.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kiruna-error-'))
  writeFileSync(join(folder, 'file'), 'content')
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

/** What node:fs itself throws: `syscall` and `path` are given to ours, all the rest must come out the same. */
function thrown(call: () => unknown): ErrnoException {
  try {
    call()
  } catch (error) {
    return error as ErrnoException
  }
  throw new Error('nothing was thrown')
}

describe("systemError makes node:fs's own errors", () => {
  const closedFd = () => {
    const fd = openSync(join(folder, 'file'), 'r')
    closeSync(fd)
    return fd
  }
  const cases: [name: string, call: () => unknown][] = [
    ['open, ENOENT', () => openSync(join(folder, 'missing'), 'r')],
    ['open, ENOTDIR', () => openSync(join(folder, 'file', 'below'), 'r')],
    ['open, EISDIR', () => openSync(folder, 'w')],
    ['open, EEXIST', () => openSync(join(folder, 'file'), 'wx')],
    ['open, ENAMETOOLONG', () => openSync(join(folder, 'n'.repeat(300)), 'r')],
    ['open, a path with a quote and an accent', () => openSync(join(folder, "l'été"), 'r')],
    ['open, a path as a Buffer', () => openSync(Buffer.from(join(folder, 'missing')), 'r')],
    ['stat, ENOENT', () => fs.statSync(join(folder, 'missing'))],
    ['rmdir, ENOTEMPTY', () => rmdirSync(folder)],
    ['read, EISDIR, no path', () => readSync(openSync(folder, 'r'), Buffer.alloc(1))],
    ['read, EBADF, no path', () => readSync(closedFd(), Buffer.alloc(1))],
    ['fstat, EBADF', () => fs.fstatSync(closedFd())],
    ['ftruncate, EINVAL', () => fs.ftruncateSync(openSync(join(folder, 'file'), 'r'), 1)],
  ]
  test.each(cases)('%s', (_, call) => {
    const theirs = thrown(call)
    const ours = systemError(theirs.errno, theirs.syscall, theirs.path)
    expect(ours.message).toBe(theirs.message)
    // Own properties, as JSON and loggers show them: their names, values and order.
    expect(JSON.stringify(ours)).toBe(JSON.stringify(theirs))
    expect(Object.getOwnPropertyNames(ours).sort()).toEqual(Object.getOwnPropertyNames(theirs).sort())
    expect({ ...ours }).toEqual({ ...theirs })
    expect(ours.name).toBe(theirs.name)
    expect(String(ours)).toBe(String(theirs))
    expect(Object.getPrototypeOf(ours)).toBe(Object.getPrototypeOf(theirs))
  })

  test('a path given as a Buffer is told as a string', () => {
    expect(systemError(-2, 'open', Buffer.from('a'))).toMatchObject({
      path: 'a',
      message: expect.stringMatching(/'a'$/),
    })
  })

  test('a number that no system error has is told as it is', () => {
    expect(systemError(-3999, 'read')).toMatchObject({ errno: -3999, code: 'Unknown system error -3999' })
  })
})

describe('a bad argument', () => {
  test('is named and coded as in Node, in the stack too', () => {
    const theirs = thrown(() => openSync(1 as never, 'r'))
    const ours = invalidType('path', 'of type string or an instance of Buffer or URL', 1)
    expect(ours).toBeInstanceOf(TypeError)
    expect(ours.name).toBe(theirs.name)
    expect((ours as unknown as ErrnoException).code).toBe(theirs.code)
    expect(ours.stack?.split('\n')[0]).toMatch(
      /^TypeError \[ERR_INVALID_ARG_TYPE\]: The "path" argument must be /,
    )
  })

  test('shows what was received, in short', () => {
    expect(outOfRange('position', '>= 0', -1).message).toMatch(/Received -1$/)
    expect(outOfRange('x', 'small', 'y'.repeat(10_000)).message.length).toBeLessThan(200)
  })

  test.each([
    [invalidType('x', 'y', 1), TypeError, 'ERR_INVALID_ARG_TYPE'],
    [outOfRange('x', 'y', 1), RangeError, 'ERR_OUT_OF_RANGE'],
    [fileTooLarge('x', 1), RangeError, 'ERR_FS_FILE_TOO_LARGE'],
    [coded(Error, 'ERR_X', 'y'), Error, 'ERR_X'],
  ])('%s', (error, Kind, code) => {
    expect(error).toBeInstanceOf(Kind)
    expect(error).toMatchObject({ code, name: Kind.name })
  })
})

test('errnoOf is the number that node:fs has for a code', () => {
  const { code, errno } = thrown(() => openSync(join(folder, 'missing'), 'r'))
  expect([code, errnoOf(code)]).toEqual(['ENOENT', errno])
  expect(() => errnoOf('ENOSUCH')).toThrow(RangeError)
})
