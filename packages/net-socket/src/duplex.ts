import type { Duplex } from 'node:stream'
import type { Caller } from '@kiruna/priority'
import type { Connection } from './connection.ts'

/** What of a connection is locked for all others once it is a Duplex. */
export interface Unlocked {
  read(caller?: Caller): Promise<Buffer | null>
  write(bytes: string | Uint8Array, caller?: Caller): Promise<void>
  end(): Promise<void>
  setNoDelay(on: boolean): void
  setKeepAlive(on: boolean, delayMs: number): void
  setRef(isRef: boolean): void
}

export function duplexOver(_connection: Connection, _unlocked: Unlocked): Duplex {
  throw new Error('not there yet')
}
