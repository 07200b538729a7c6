import type * as libuv from '@kiruna/net-socket/libuv'

/** The personality that is tested, whichever implementation it is. */
export type Net = Pick<typeof libuv, 'connect' | 'listen' | 'bind'>
export type Connection = Awaited<ReturnType<Net['connect']>>
export type Listener = Awaited<ReturnType<Net['listen']>>
export type UdpSocket = Awaited<ReturnType<Net['bind']>>
export type BindOptions = Parameters<Net['bind']>[0]

/** One promise that every implementation keeps: its name is the sentence. */
export interface NetContract {
  name: string
  run(net: Net, test: NetTest): Promise<void>
}

/** What a runner gives to a contract. */
export interface NetTest {
  /** A folder of its own, empty, removed afterwards. */
  folder: string
  /** Where a child process imports the same `net` from. */
  netUrl: string
  /** The contract cannot be looked at here; to be followed by `return`. */
  skip(reason: string): void
}
