import type { Caller } from '@kiruna/priority'
import type { ConnectTarget, ListenTarget } from './address.ts'
import type { Connection } from './connection.ts'
import type { Listener, ListenOptions } from './listener.ts'

// The skeleton: net-b's.
export declare function connect(target: ConnectTarget, caller: Caller): Promise<Connection>
export declare function listen(
  target: ListenTarget,
  caller: Caller,
  options?: ListenOptions,
): Promise<Listener>
export declare function bind(target: { port: number; host?: string }, caller: Caller): Promise<unknown>
