import { constants } from 'node:fs'
import { checkInteger } from './arguments.ts'
import { invalidValue } from './error.ts'

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_EXCL, O_SYNC } = constants

/** node:fs's names. @see https://nodejs.org/api/fs.html#file-system-flags */
const named = new Map([
  ['r', O_RDONLY],
  ['rs', O_RDONLY | O_SYNC],
  ['r+', O_RDWR],
  ['rs+', O_RDWR | O_SYNC],
  ['w', O_TRUNC | O_CREAT | O_WRONLY],
  ['wx', O_TRUNC | O_CREAT | O_WRONLY | O_EXCL],
  ['w+', O_TRUNC | O_CREAT | O_RDWR],
  ['wx+', O_TRUNC | O_CREAT | O_RDWR | O_EXCL],
  ['a', O_APPEND | O_CREAT | O_WRONLY],
  ['ax', O_APPEND | O_CREAT | O_WRONLY | O_EXCL],
  ['as', O_APPEND | O_CREAT | O_WRONLY | O_SYNC],
  ['a+', O_APPEND | O_CREAT | O_RDWR],
  ['ax+', O_APPEND | O_CREAT | O_RDWR | O_EXCL],
  ['as+', O_APPEND | O_CREAT | O_RDWR | O_SYNC],
])

/**
 * open(2)'s flags for a string such as 'r+' ('xw' and 'wx' are the same); a number stays as it is.
 * @throws TypeError ERR_INVALID_ARG_VALUE, RangeError ERR_OUT_OF_RANGE
 */
export function parseFlags(flags: string | number): number {
  if (typeof flags === 'number') return checkInteger(flags, 'flags', 0, 2 ** 31 - 1)
  const number = named.get(flags) ?? named.get(String(flags).replace(/^([xs])([rwa])/, '$2$1'))
  if (number === undefined) throw invalidValue('flags', 'is not one that node:fs knows', flags)
  return number
}
