import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import { checkInteger } from '@kiruna/priority/arguments'
import { invalidType, invalidValue } from '@kiruna/priority/error'
import { isLinux } from '@kiruna/priority/system'

/** Where a socket is, or its peer: what the OS says. A path that begins with '\0' is an abstract one. */
export type SocketAddress =
  | { readonly family: 'IPv4' | 'IPv6'; readonly address: string; readonly port: number }
  | { readonly family: 'Unix'; readonly path: string }

/** To whom: a port of a host ('localhost'), or the path of a Unix-domain socket ('\0name': an abstract one, on Linux). */
export type ConnectTarget = { port: number; host?: string } | { path: string }

/**
 * Where to listen: a port (0: one that is free) of an address of this machine (absent: all of them), or a path.
 * `backlog`: how many connections the kernel keeps that have not been accepted (511).
 */
export type ListenTarget =
  | { port: number; host?: string; backlog?: number }
  | { path: string; backlog?: number }

/** What has been checked. A port of a host, where undefined is nothing in particular, or a path. */
export type Checked = { port: number; host: string | undefined; path?: undefined } | { path: string }

/**
 * @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE; RangeError ERR_SOCKET_BAD_PORT, ERR_OUT_OF_RANGE
 */
export function checkConnectTarget(target: ConnectTarget): Checked {
  return checkTarget(target, 1)
}

/** @throws as `checkConnectTarget` does */
export function checkListenTarget(target: ListenTarget): Checked & { backlog: number } {
  const checked = checkTarget(target, 0)
  const { backlog = 511 } = target
  return { ...checked, backlog: checkInteger(backlog, 'backlog', 1, 2 ** 31 - 1) }
}

/** @throws TypeError ERR_INVALID_ARG_TYPE */
export function checkBoolean(value: boolean, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'a boolean', value)
  return value
}

/** @throws TypeError ERR_INVALID_ARG_TYPE; ERR_INVALID_ARG_VALUE: empty, too long, or with a zero byte inside */
export function checkSocketPath(path: string): string {
  if (typeof path !== 'string') throw invalidType('path', 'a string', path)
  const name = path.startsWith('\0') ? path.slice(1) : path
  if (name === '') throw invalidValue('path', 'must not be empty', path)
  if (name.includes('\0')) throw invalidValue('path', 'must be without null bytes', path)
  // An abstract name has no zero byte at its end.
  if (Buffer.byteLength(path) > longestPathBytes + (path === name ? 0 : 1)) {
    throw invalidValue('path', `must be at most ${longestPathBytes} bytes long`, path)
  }
  return path
}

/** @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_SOCKET_BAD_PORT, as node:net has it */
export function checkPort(port: number, least: number): number {
  if (typeof port !== 'number') throw invalidType('port', 'a number', port)
  if (Number.isInteger(port) && port >= least && port < 65536) return port
  const error = new RangeError(`The port must be a whole number from ${least} to 65535. Received ${port}`)
  throw Object.assign(error, { code: 'ERR_SOCKET_BAD_PORT' })
}

/** @throws TypeError ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE */
export function checkHost(host: string | undefined): string | undefined {
  if (host === undefined) return undefined
  if (typeof host !== 'string') throw invalidType('host', 'a string', host)
  if (host === '' || host.includes('\0')) throw invalidValue('host', 'must be a name or an address', host)
  return host
}

function checkTarget(target: ConnectTarget | ListenTarget, leastPort: number): Checked {
  if (typeof target !== 'object' || target === null) {
    throw invalidType('target', 'an object with a port or a path', target)
  }
  if ('path' in target && target.path !== undefined) {
    if ('port' in target && target.port !== undefined) {
      throw invalidValue('target', 'must have a port or a path, not both', target)
    }
    return { path: checkSocketPath(target.path) }
  }
  const { port, host } = target as { port: number; host?: string }
  return { port: checkPort(port, leastPort), host: checkHost(host) }
}

/** An address of a host: what `lookup` gives. */
export interface HostAddress {
  readonly address: string
  readonly family: 4 | 6
}

/**
 * The addresses of a host, in the order in which they are to be tried.
 * @throws ENOTFOUND, EAI_AGAIN … (`err.code`), as node:dns has it
 * @see getaddrinfo(3)
 */
export function addressesOf(host: string): Promise<HostAddress[]> {
  const family = isIP(host)
  if (family !== 0) return Promise.resolve([{ address: host, family: family as 4 | 6 }])
  return new Promise((resolve, reject) => {
    lookup(host, { all: true }, (error, addresses) => {
      if (error) reject(error)
      else resolve(addresses as HostAddress[])
    })
  })
}

/** sun_path, and its zero byte at the end */
const longestPathBytes = isLinux ? 107 : 103
