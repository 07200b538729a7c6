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

/** The OS's own. */
interface OwnModule extends Net {
  /** @throws ERR_KIRUNA_UNAVAILABLE with the reason */
  check(): void
}

interface Own {
  name: Implementation['name']
  module: string
  /** The package that makes its system calls. */
  floor: string
}

const preferred: Partial<Record<NodeJS.Platform, Own>> = {
  linux: { name: 'io_uring', module: '@kiruna/net-socket/uring', floor: '@kiruna/linux-uring' },
  darwin: { name: 'dispatch', module: '@kiruna/net-socket/dispatch', floor: '@kiruna/net-socket' },
  win32: { name: 'iocp', module: '@kiruna/net-socket/iocp', floor: '@kiruna/win-iocp' },
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
  const own = preferred[process.platform]
  if (own === undefined) return fallBack(`there is no implementation for ${process.platform} yet`)
  try {
    const module = createRequire(import.meta.url)(own.module) as OwnModule
    module.check()
    return { ...module, implementation: { name: own.name } }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_KIRUNA_UNAVAILABLE') return fallBack(message)
    if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
      return fallBack(`${own.floor} is not installed`)
    }
    throw error
  }
}

function fallBack(reason: string): Selected {
  return { ...libuv, implementation: { name: 'libuv', reason } }
}
