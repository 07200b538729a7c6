import { createRequire } from 'node:module'
import { invalidValue } from '@kiruna/priority/error'
import * as libuv from './libuv.ts'

export type { ConnectTarget, ListenTarget, SocketAddress } from './address.ts'
export type { Connection } from './connection.ts'
export type { ConnectionDuplex, DuplexOptions } from './duplex.ts'
export type { Listener, ListenOptions } from './listener.ts'
export type { SocketError } from './socket-error.ts'
export type { BindOptions, Datagram, Destination } from './udp.ts'
export type { UdpSocket } from './udp-socket.ts'

/** The socket personality. */
export type Net = Pick<typeof libuv, 'connect' | 'listen' | 'bind'>

/** What moves the bytes, and where it is not the OS's own, why not. */
export interface Implementation {
  name: 'io_uring' | 'dispatch' | 'iocp' | 'libuv'
  reason?: string
}

interface Selected extends Net {
  implementation: Implementation
}

/** The OS's own: it may not be installed, or not be had here. */
interface Own extends Net {
  /** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
  check(): void
}

const selected = select()

/** By the OS's preferred API: see each implementation's own. */
export const connect: Net['connect'] = selected.connect
export const listen: Net['listen'] = selected.listen
export const bind: Net['bind'] = selected.bind

/** Which implementation this process has, and why not the better one. */
export function implementation(): Implementation {
  return { ...selected.implementation }
}

function select(): Selected {
  const forced = process.env.KIRUNA_IO || undefined
  if (forced !== undefined && forced !== 'libuv') {
    throw invalidValue('KIRUNA_IO', "must be 'libuv' or unset", forced)
  }
  if (forced !== undefined) return fallBack('KIRUNA_IO=libuv')
  switch (process.platform) {
    case 'linux':
      return own('uring', 'io_uring', 'linux-uring')
    case 'darwin':
      return own('dispatch', 'dispatch', 'net-socket')
    case 'win32':
      return own('iocp', 'iocp', 'win-iocp')
    default:
      return fallBack(`there is no implementation for ${process.platform} yet`)
  }
}

/** @param floor the package that makes its system calls */
function own(module: string, name: Implementation['name'], floor: string): Selected {
  try {
    const net = createRequire(import.meta.url)(`@kiruna/net-socket/${module}`) as Own
    net.check()
    return { ...net, implementation: { name } }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_KIRUNA_UNAVAILABLE') return fallBack(message)
    if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
      return fallBack(`@kiruna/${floor} is not installed`)
    }
    throw error
  }
}

function fallBack(reason: string): Selected {
  return { ...libuv, implementation: { name: 'libuv', reason } }
}
