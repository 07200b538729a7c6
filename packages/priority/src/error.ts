import { getSystemErrorMap, inspect } from 'node:util'
import { nextTick } from './timers.ts'

const systemErrors = getSystemErrorMap()
const errnos = new Map([...systemErrors].map(([errno, [code]]) => [code, errno]))

/** An error of the operating system, in the shape that node:fs gives it. */
export interface ErrnoException extends Error {
  code: string
  /** Negative, as libuv has it: −2 for ENOENT. */
  errno: number
  syscall: string
  path?: string
}

/**
 * This system's number for a code: −2 for 'ENOENT' on Linux, −4058 on Windows, where the numbers in
 * `os.constants.errno` are not those of node:fs's errors.
 * @throws RangeError: libuv knows no such code
 */
export function errnoOf(code: string): number {
  const errno = errnos.get(code)
  if (errno === undefined) throw new RangeError(`libuv has no ${code}`)
  return errno
}

/**
 * Makes the error that node:fs would make: `ENOENT: no such file or directory, open 'notes.txt'`.
 * @param errno the negative error number, as io_uring and libuv return it: −2 for ENOENT
 * @param syscall the call that failed: 'open', 'read'
 * @see errno(3)
 */
export function systemError(errno: number, syscall: string, path?: string | Buffer): ErrnoException {
  const [code, message] = systemErrors.get(errno) ?? [`Unknown system error ${errno}`, 'unknown error']
  const error = new Error(
    `${code}: ${message}, ${syscall}${path === undefined ? '' : ` '${path}'`}`,
  ) as ErrnoException
  error.errno = errno
  error.code = code
  error.syscall = syscall
  if (path !== undefined) error.path = String(path)
  return error
}

/** EBADF, as a closed FileHandle gives it. */
export function fileClosed(syscall: string, path?: string | Buffer): ErrnoException {
  const error = systemError(errnoOf('EBADF'), syscall, path)
  error.message = path === undefined ? 'file closed' : `file closed, ${syscall} '${path}'`
  return error
}

/** A TypeError with code ERR_INVALID_ARG_TYPE, worded as Node words it. */
export function invalidType(name: string, expected: string, received: unknown): TypeError {
  return coded(
    TypeError,
    'ERR_INVALID_ARG_TYPE',
    `The "${name}" argument must be ${expected}. Received ${shown(received)}`,
  )
}

/** A TypeError with code ERR_INVALID_ARG_VALUE, worded as Node words it. */
export function invalidValue(name: string, reason: string, received: unknown): TypeError {
  return coded(
    TypeError,
    'ERR_INVALID_ARG_VALUE',
    `The argument '${name}' ${reason}. Received ${shown(received)}`,
  )
}

/** A RangeError with code ERR_OUT_OF_RANGE, worded as Node words it. */
export function outOfRange(name: string, range: string, received: unknown): RangeError {
  return coded(
    RangeError,
    'ERR_OUT_OF_RANGE',
    `The value of "${name}" is out of range. It must be ${range}. Received ${shown(received)}`,
  )
}

/** fs.readFile's own limit. */
export const largestFileBytes = 2 ** 31 - 1

/** A RangeError with code ERR_FS_FILE_TOO_LARGE, as fs.readFile gives it. */
export function fileTooLarge(path: string | Buffer, maxBytes: number): RangeError {
  return coded(RangeError, 'ERR_FS_FILE_TOO_LARGE', `File '${path}' is larger than ${maxBytes} bytes`)
}

/** Gives an error its `code`, and shows it in the stack as Node's own errors do: `TypeError [ERR_…]: …`. */
export function coded<E extends Error>(Kind: new (message: string) => E, code: string, message: string): E {
  const error = new Kind(message) as E & { code: string }
  const { name } = error
  error.name = `${name} [${code}]`
  void error.stack // captured with the code in its first line; V8 formats it on first read
  error.name = name
  error.code = code
  return error
}

/** Throws an error that no caller can receive, as an uncaught exception, once the running code is done. */
export function reportUncaught(error: unknown): void {
  nextTick(rethrow, error)
}

function rethrow(error: unknown): never {
  throw error
}

function shown(value: unknown): string {
  const text = inspect(value, { depth: -1 })
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
