/** The three priorities of the standard, under its name for them. Kiruna's `realtime` is not one. */
export type TaskPriority = 'user-blocking' | 'user-visible' | 'background'

const taskPriorities: readonly string[] = ['user-blocking', 'user-visible', 'background']

/**
 * Converts to an enumeration value, through a string.
 * @throws TypeError: not one of the three
 * @see https://webidl.spec.whatwg.org/#js-enumeration
 */
export function toTaskPriority(value: unknown, name: string): TaskPriority {
  if (typeof value === 'symbol') throw new TypeError(`${name} is a symbol, which is no string`)
  const text = `${value}`
  if (taskPriorities.includes(text)) return text as TaskPriority
  throw new TypeError(`${name} '${text}' is not one of '${taskPriorities.join("', '")}'`)
}

/**
 * Converts to an `[EnforceRange] unsigned long long`: whole, and exact as a double.
 * @throws TypeError: not a number from 0 to 2^53 − 1
 * @see https://webidl.spec.whatwg.org/#abstract-opdef-converttoint
 */
export function toUnsignedLongLong(value: unknown, name: string): number {
  const whole = Math.trunc(+(value as number)) // + refuses a symbol and a bigint, as ToNumber does
  if (whole >= 0 && whole <= Number.MAX_SAFE_INTEGER) return whole
  throw new TypeError(`${name} is not a number from 0 to 2^53 − 1`)
}

/**
 * Converts to a dictionary, whose members are read one by one, in the order of their names; null and undefined are
 * empty.
 * @throws TypeError: not an object
 * @see https://webidl.spec.whatwg.org/#js-dictionary
 */
export function toDictionary<Members>(value: unknown, name: string): { [Name in keyof Members]?: unknown } {
  if (value === undefined || value === null) return {}
  if (typeof value === 'object' || typeof value === 'function') return value
  throw new TypeError(`${name} is not an object`)
}

const getAborted = Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted')!.get!

/**
 * Checks that an object implements AbortSignal: a brand check, since anything can have the prototype.
 * @throws TypeError
 * @see https://webidl.spec.whatwg.org/#js-interface
 */
export function toAbortSignal(value: unknown, name: string): AbortSignal {
  try {
    getAborted.call(value)
    return value as AbortSignal
  } catch {
    throw new TypeError(`${name} is not an AbortSignal`)
  }
}

/**
 * Converts to a `sequence<AbortSignal>`.
 * @throws TypeError: not iterable, or an item is not an AbortSignal
 * @see https://webidl.spec.whatwg.org/#js-sequence
 */
export function toAbortSignals(value: unknown, name: string): AbortSignal[] {
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function'
  // Read once, as the standard says: it may be a getter.
  const method = isObject ? (value as Iterable<unknown>)[Symbol.iterator] : undefined
  if (typeof method !== 'function') throw new TypeError(`${name} is not a sequence`)
  const iterable = { [Symbol.iterator]: () => Reflect.apply(method, value, []) as Iterator<unknown> }
  return Array.from(iterable, (one, i) => toAbortSignal(one, `${name}[${i}]`))
}

/**
 * Gives a class what a web interface has and a class lacks: enumerable members, and a name for
 * `Object.prototype.toString`.
 * @see https://webidl.spec.whatwg.org/#interface-prototype-object
 */
export function exposeInterface(
  { name, prototype }: { name: string; prototype: object },
  members: string[],
): void {
  for (const member of members) Object.defineProperty(prototype, member, { enumerable: true })
  Object.defineProperty(prototype, Symbol.toStringTag, { value: name, configurable: true })
}
