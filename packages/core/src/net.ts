import type { Net } from '@kiruna/net-socket'
import './default-scheduler.ts' // a bare priority goes on at that priority
import { type Implementation, implementationOf, type Personality, select } from './select.ts'

export type * from '@kiruna/net-socket'
export type { Implementation, Personality }

/** TCP, Unix-domain and UDP sockets, by the OS's preferred API. */
export const { connect, listen, bind }: Net = select('socket')

/** Which implementation a personality has in this process, and why not the better one. */
export function implementation(personality: Personality = 'socket'): Implementation {
  return implementationOf(personality)
}
