import { type ErrnoException, systemError } from '@kiruna/priority/error'
import type { SocketAddress } from './address.ts'

/** An error of a socket, in node:net's shape. */
export interface SocketError extends ErrnoException {
  address?: string
  port?: number
}

/**
 * Makes the error that node:net would make: `connect ECONNREFUSED 127.0.0.1:80`.
 * @param errno negative, as io_uring and libuv return it
 */
export function socketError(errno: number, syscall: string, at?: SocketAddress): SocketError {
  const error: SocketError = systemError(errno, syscall)
  const [reason = ''] = error.message.split(',', 1)
  // node:net says what it means only where it listens.
  error.message = syscall === 'listen' ? `${syscall} ${reason}` : `${syscall} ${error.code}`
  if (at?.family === 'Unix') {
    error.address = at.path
    error.message += ` ${at.path}`
  } else if (at !== undefined) {
    error.address = at.address
    error.message += ` ${at.address}`
    if (at.port === 0) return error // any free port was asked for
    error.port = at.port
    error.message += `:${at.port}`
  }
  return error
}
