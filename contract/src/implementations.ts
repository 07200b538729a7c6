import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type * as darwinSeek from '@kiruna/darwin-seek'
import type * as darwinSocket from '@kiruna/darwin-socket'
import type * as darwinStream from '@kiruna/darwin-stream'
import type { Seek } from '@kiruna/fs-seek'
import type { Stream } from '@kiruna/fs-stream'
import type * as linuxSeek from '@kiruna/linux-seek'
import type * as linuxSocket from '@kiruna/linux-socket'
import type * as linuxStream from '@kiruna/linux-stream'
import type { Net } from '@kiruna/net-socket'
import type * as nodeSeek from '@kiruna/node-seek'
import type * as nodeSocket from '@kiruna/node-socket'
import type * as nodeStream from '@kiruna/node-stream'
import type * as winSeek from '@kiruna/win-seek'
import type * as winSocket from '@kiruna/win-socket'
import type * as winStream from '@kiruna/win-stream'

export interface Implementation<Personality> {
  name: string
  /** Where a child process imports it from. */
  url: string
  /** Why it cannot run on this machine; undefined where it can. */
  missing: string | undefined
  io: Personality
}

/** The compiler's part of the contract: who uses one package of a column can use any other. */
type EachIs<Personality, _Packages extends Personality[]> = Personality
type AnySeek = EachIs<Seek, [typeof linuxSeek, typeof darwinSeek, typeof winSeek, typeof nodeSeek]>
type AnyStream = EachIs<
  Stream,
  [typeof linuxStream, typeof darwinStream, typeof winStream, typeof nodeStream]
>
type AnySocket = EachIs<Net, [typeof linuxSocket, typeof darwinSocket, typeof winSocket, typeof nodeSocket]>

const require = createRequire(import.meta.url)

/** Every package that has a `seek`. */
export const seeks: Implementation<AnySeek>[] = await column('seek')
/** Every package that has a `stream`. */
export const streams: Implementation<AnyStream>[] = await column('stream')
/** Every package that has sockets. */
export const sockets: Implementation<AnySocket>[] = await column('socket')

for (const one of streams) {
  if (process.platform === 'win32' && one.name === '@kiruna/node-stream') {
    one.missing = "node-stream's streams have not been tried on Windows"
  }
}

function column<Personality>(personality: string): Promise<Implementation<Personality>[]> {
  const rows = ['linux', 'darwin', 'win', 'node']
  return Promise.all(rows.map(row => implementation<Personality>(`@kiruna/${row}-${personality}`)))
}

async function implementation<Personality>(name: string): Promise<Implementation<Personality>> {
  const url = pathToFileURL(require.resolve(name)).href
  const io: Personality & { check?(): void } = await import(url)
  try {
    io.check?.()
    return { name, url, missing: undefined, io }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ERR_KIRUNA_UNAVAILABLE') throw error
    return { name, url, missing: message, io }
  }
}
