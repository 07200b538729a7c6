import { types } from 'node:util'
import { type Asker, askerOf, type Caller } from '@kiruna/priority'
import { checkBuffer, checkInteger, ownOptions } from '@kiruna/priority/arguments'
import { invalidType, invalidValue } from '@kiruna/priority/error'
import { isLinux } from '@kiruna/priority/system'

/** A port of a host ('localhost' by default), or the path of a Unix-domain socket ('\0name': abstract, on Linux). */
export type ConnectTarget = { port: number; host?: string } | { path: string }

/**
 * Where to listen: a port (0: any free one) of an address of this machine (by default all of them), or a path.
 * `backlog`: how many connections the kernel keeps until they are accepted (511 by default).
 */
export type ListenTarget =
  | { port: number; host?: string; backlog?: number }
  | { path: string; backlog?: number }

export interface ListenOptions {
  /**
   * Called with errors after which the listener goes on by itself, after a pause: too many open files (EMFILE, ENFILE),
   * no memory (ENOBUFS, ENOMEM), … Without it such an error is silent.
   */
  onError?: (error: Error) => void
}

export interface BindOptions {
  /** 0, the default: any free port. */
  port?: number | undefined
  /** By default every address of both families, or of IPv4 if there is no IPv6. */
  host?: string | undefined
  /** Only IPv6, if there is no host or it is '::'. */
  ipv6Only?: boolean | undefined
  /** Other sockets with this option may use the same port. A multicast datagram then goes to all of them. */
  reuseAddress?: boolean | undefined
  /** Permits sending to a broadcast address. */
  broadcast?: boolean | undefined
  /** How many hops a datagram may take, from 1 to 255. */
  ttl?: number | undefined
  /** The same for multicast, from 0 to 255; 1 by default: this network. */
  multicastTtl?: number | undefined
  /** What it sends to a group is also received by the members on this machine; true by default. */
  multicastLoopback?: boolean | undefined
  /** The interface for outgoing multicast: its address, in IPv6 its scope ('::%eth0'). */
  multicastInterface?: string | undefined
}

/** Where to send a datagram. A received datagram is a destination too: its sender. */
export interface Destination {
  port: number
  /** A name or an address; by default this machine. */
  host?: string | undefined
  /** An alternative to `host`, which comes first. */
  address?: string | undefined
}

/** sun_path without the zero byte at its end */
const longestPathBytes = isLinux ? 107 : 103

/** A port of a host (undefined: none was given) or a path, and the caller. */
export type CheckedTarget = { asker: Asker } & (
  | { port: number; host: string | undefined; path?: undefined }
  | { path: string }
)
export type CheckedListen = CheckedTarget & { backlog: number; onError: ListenOptions['onError'] }
export type CheckedBind = BindOptions & { port: number; asker: Asker }

/** @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; RangeError ERR_SOCKET_BAD_PORT */
export function checkConnect(target: ConnectTarget, caller: Caller): CheckedTarget {
  return checkTarget(ownTarget(target), 1, caller)
}

/** @throws as `checkConnect`; ERR_OUT_OF_RANGE; the signal's reason */
export function checkListen(
  target: ListenTarget,
  caller: Caller,
  options: ListenOptions | undefined,
): CheckedListen {
  const given = ownTarget(target)
  const checked = checkTarget(given, 0, caller)
  const backlog = checkInteger(given.backlog ?? 511, 'backlog', 1, 2 ** 31 - 1)
  const { onError } = ownOptions(options)
  if (onError !== undefined && typeof onError !== 'function') {
    throw invalidType('options.onError', 'a function', onError)
  }
  checked.asker.signal?.throwIfAborted()
  return { ...checked, backlog, onError }
}

/** @throws as `checkListen` */
export function checkBind(target: BindOptions, caller: Caller): CheckedBind {
  if (target === undefined) throw invalidType('target', 'an object', target)
  const options = ownOptions(target, 'target')
  const { port = 0, host, ttl, multicastTtl, multicastInterface } = options
  checkPort(port, 0)
  checkHost(host)
  for (const name of ['ipv6Only', 'reuseAddress', 'broadcast', 'multicastLoopback'] as const) {
    if (options[name] !== undefined) checkBoolean(options[name], name)
  }
  if (ttl !== undefined) checkInteger(ttl, 'ttl', 1, 255)
  if (multicastTtl !== undefined) checkInteger(multicastTtl, 'multicastTtl', 0, 255)
  if (multicastInterface !== undefined) checkString(multicastInterface, 'multicastInterface')
  const asker = askerOf(caller)
  asker.signal?.throwIfAborted()
  return { ...options, port, asker }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE; ERR_INVALID_STATE: detached; ERR_INVALID_ARG_VALUE: resizable */
export function checkBytes(bytes: string | Uint8Array): Uint8Array {
  const memory = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
  if (!types.isUint8Array(memory)) throw invalidType('bytes', 'a string or a Uint8Array', bytes)
  checkBuffer(memory)
  return memory
}

/** @throws TypeError, RangeError */
export function checkDestination(to: Destination): { port: number; host: string | undefined } {
  if (typeof to !== 'object' || to === null) throw invalidType('to', 'an object with a port', to)
  const { port, address, host = address } = ownOptions(to, 'to')
  return { port: checkPort(port, 1), host: checkHost(host) }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkBoolean(value: boolean, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'a boolean', value)
  return value
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkString(value: string, name: string): string {
  if (typeof value !== 'string') throw invalidType(name, 'a string', value)
  return value
}

interface Given {
  port?: number
  host?: string
  path?: string
  backlog?: number
}

function ownTarget(target: ConnectTarget | ListenTarget): Given {
  if (typeof target !== 'object' || target === null) {
    throw invalidType('target', 'an object with a port or a path', target)
  }
  return ownOptions(target as Given, 'target')
}

function checkTarget(target: Given, leastPort: number, caller: Caller): CheckedTarget {
  const { port, host, path } = target
  if (path !== undefined) {
    if (port !== undefined) throw invalidValue('target', 'must have a port or a path, not both', target)
    return { path: checkPath(path), asker: askerOf(caller) }
  }
  return { port: checkPort(port, leastPort), host: checkHost(host), asker: askerOf(caller) }
}

/** @throws where it is empty or too long, or has a zero byte inside */
function checkPath(path: string): string {
  const name = checkString(path, 'path').startsWith('\0') ? path.slice(1) : path
  if (name === '') throw invalidValue('path', 'must not be empty', path)
  if (name.includes('\0')) throw invalidValue('path', 'must be without null bytes', path)
  // An abstract name has no zero byte at its end.
  if (Buffer.byteLength(path) > longestPathBytes + (path === name ? 0 : 1)) {
    throw invalidValue('path', `must be at most ${longestPathBytes} bytes long`, path)
  }
  return path
}

/** @throws node:net's error */
function checkPort(port: number | undefined, least: number): number {
  if (typeof port !== 'number') throw invalidType('port', 'a number', port)
  if (Number.isInteger(port) && port >= least && port < 65536) return port
  const error = new RangeError(`The port must be a whole number from ${least} to 65535. Received ${port}`)
  throw Object.assign(error, { code: 'ERR_SOCKET_BAD_PORT' })
}

function checkHost(host: string | undefined): string | undefined {
  if (host === undefined) return undefined
  checkString(host, 'host')
  if (host === '' || host.includes('\0')) throw invalidValue('host', 'must be a name or an address', host)
  return host
}
