import { fileURLToPath } from 'node:url'
import { types } from 'node:util'
import { coded, invalidType, invalidValue, outOfRange } from './error.ts'

/** The name of a file, as in node:fs. */
export type PathLike = string | URL | Buffer

/**
 * @returns the path as the OS takes it; of a Buffer a copy, since it may change before the call is made
 * @throws TypeError ERR_INVALID_ARG_TYPE; ERR_INVALID_ARG_VALUE: a zero byte; ERR_INVALID_URL_SCHEME: not a file: URL
 */
export function checkPath(path: PathLike): string | Buffer {
  const given = isURL(path) ? fileURLToPath(path.href) : path
  if (typeof given !== 'string' && !Buffer.isBuffer(given)) {
    throw invalidType('path', 'a string, a Buffer or a file: URL', path)
  }
  if (given.includes('\0')) throw invalidValue('path', 'must be without null bytes', path)
  return typeof given === 'string' ? given : Buffer.from(given)
}

/** Also one of another realm. */
function isURL(path: PathLike): path is URL {
  return typeof path === 'object' && path !== null && 'href' in path && 'protocol' in path
}

/**
 * A count or an offset: an integer from `least` (0) to `most` (2^53 − 1).
 * @throws TypeError ERR_INVALID_ARG_TYPE, RangeError ERR_OUT_OF_RANGE
 */
export function checkInteger(value: number, name: string, least = 0, most = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  if (typeof value !== 'number') throw invalidType(name, 'a number', value)
  throw outOfRange(name, `an integer from ${least} to ${most}`, value)
}

/** @throws TypeError ERR_INVALID_ARG_TYPE: given, and not an AbortSignal */
export function checkSignal(signal: AbortSignal | undefined, name: string): void {
  if (signal !== undefined && !isAbortSignal(signal)) throw invalidType(name, 'an AbortSignal', signal)
}

/** Also one of another realm: what jest and node:vm run has an AbortSignal of its own. */
export function isAbortSignal(value: unknown): value is AbortSignal {
  return (
    value instanceof AbortSignal ||
    (typeof value === 'object' &&
      value !== null &&
      typeof (value as AbortSignal).aborted === 'boolean' &&
      typeof (value as AbortSignal).addEventListener === 'function')
  )
}

const none = Object.freeze(Object.create(null)) as object

/**
 * What was given, and nothing that somebody has put on Object.prototype. Each option is read once.
 * @throws TypeError ERR_INVALID_ARG_TYPE: neither an object nor undefined
 */
export function ownOptions<Options extends object>(given: Options | undefined, name = 'options'): Options {
  if (given === undefined) return none as Options
  if (typeof given !== 'object' || given === null) throw invalidType(name, 'an object', given)
  return { __proto__: null, ...given }
}

/**
 * Checks memory that the OS may write into after the call has returned: it must stay where it is.
 * @throws TypeError ERR_INVALID_ARG_TYPE: not a view; ERR_INVALID_STATE: detached;
 *   ERR_INVALID_ARG_VALUE: resizable, growable, or a WebAssembly memory
 */
export function checkBuffer(buffer: NodeJS.ArrayBufferView): void {
  if (!ArrayBuffer.isView(buffer)) throw invalidType('buffer', 'a Buffer, a TypedArray or a DataView', buffer)
  const memory = buffer.buffer
  if (buffer.byteLength === 0 && isDetached(memory)) throw detached()
  if ((memory as ArrayBuffer).resizable || (memory as SharedArrayBuffer).growable) {
    throw invalidValue('buffer', 'must not be resizable: its memory may go away under the operation', buffer)
  }
  // A WebAssembly memory is a multiple of 64 KiB: only such buffers are looked at more closely.
  if ((memory.byteLength & 0xffff) === 0 && memory.byteLength > 0 && isWebAssemblyMemory(buffer)) {
    throw invalidValue(
      'buffer',
      'must not be a WebAssembly memory: it goes away when the memory grows',
      buffer,
    )
  }
}

export function detached(): TypeError {
  return coded(TypeError, 'ERR_INVALID_STATE', 'The buffer is detached: its memory was transferred elsewhere')
}

function isDetached(memory: ArrayBufferLike): boolean {
  if (memory.byteLength > 0 || types.isSharedArrayBuffer(memory)) return false
  if ('detached' in memory) return memory.detached
  try {
    new Uint8Array(memory) // Node 20 has no `detached`, but a detached buffer takes no view
    return false
  } catch {
    return true
  }
}

const isWebAssembly = new WeakMap<ArrayBufferLike, boolean>()

/** Memory from outside of V8's heap that is ours, for all copies of this package. */
const key = Symbol.for('@kiruna/priority/mapped')
const realm = globalThis as { [key]?: WeakSet<ArrayBufferLike> }
if (realm[key] === undefined) Object.defineProperty(realm, key, { value: new WeakSet() })

/** The pages of a mapped file: V8 does not tell them from a WebAssembly memory, but they stay where they are. */
export function noteMapped(memory: ArrayBuffer): void {
  realm[key]!.add(memory)
}

/**
 * A WebAssembly memory cannot be detached, and neither can Buffer's pool. V8 does not tell them apart, but the pool has
 * a known size, and no Buffer in it is longer than half of that. Node 20 and Deno do not tell either from other memory.
 */
function isWebAssemblyMemory({ buffer: memory, byteLength }: NodeJS.ArrayBufferView): boolean {
  if (memory.byteLength === Buffer.poolSize && byteLength <= Buffer.poolSize / 2) return false
  let answer = isWebAssembly.get(memory)
  if (answer === undefined) {
    if (realm[key]!.has(memory)) return false
    // Of shared buffers, only WebAssembly's are frozen (its JavaScript interface, "create a fixed length memory
    // buffer").
    answer = types.isSharedArrayBuffer(memory) ? Object.isFrozen(memory) : !isDetachable(memory)
    isWebAssembly.set(memory, answer)
  }
  return answer
}

/** Tries a clone that must fail: because of the function, or because of a buffer that cannot be detached. */
function isDetachable(memory: ArrayBuffer): boolean {
  if (process.versions.deno !== undefined) return true // the clone fails there too, but the buffer is detached by then
  try {
    structuredClone(nothing, { transfer: [memory] })
  } catch (error) {
    return !(error as Error).message.includes('unsupported type')
  }
  return true
}

const nothing = () => {}
