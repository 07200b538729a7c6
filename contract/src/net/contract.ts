import type { Net } from '@kiruna/net-socket'
import type { Promised } from '../contract.ts'

export type { BindOptions, Connection, Listener, Net, UdpSocket } from '@kiruna/net-socket'
export type { Test as NetTest } from '../contract.ts'

export type NetContract = Promised<Net>
