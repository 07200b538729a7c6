import { createRequire } from 'node:module'
import type { Seek } from '@kiruna/fs-seek'
import type { Stream } from '@kiruna/fs-stream'
import type { Net } from '@kiruna/net-socket'
import { invalidValue } from '@kiruna/priority/error'

interface Personalities {
  seek: Seek
  stream: Stream
  socket: Net
}

/** What is selected by itself: one may fall back where another need not. */
export type Personality = keyof Personalities

/** What does the I/O here, and where it is not the OS's own, why not. */
export interface Implementation {
  name: 'io_uring' | 'dispatch' | 'iocp' | 'libuv'
  reason?: string
}

/** A package of the OS's own. `check` throws ERR_KIRUNA_UNAVAILABLE, with the reason, where it does not work here. */
type Own<P extends Personality> = Personalities[P] & { check(): void }
interface Row {
  name: Implementation['name']
  own: { [P in Personality]: () => Own<P> }
}

const require = createRequire(import.meta.url)

/** Which package is for which system, and nobody else knows. Each name is written out, for bundlers to see. */
const rows: Partial<Record<NodeJS.Platform, Row>> = {
  linux: {
    name: 'io_uring',
    own: {
      seek: () => require('@kiruna/linux-seek'),
      stream: () => require('@kiruna/linux-stream'),
      socket: () => require('@kiruna/linux-socket'),
    },
  },
  darwin: {
    name: 'dispatch',
    own: {
      seek: () => require('@kiruna/darwin-seek'),
      stream: () => require('@kiruna/darwin-stream'),
      socket: () => require('@kiruna/darwin-socket'),
    },
  },
  win32: {
    name: 'iocp',
    own: {
      seek: () => require('@kiruna/win-seek'),
      stream: () => require('@kiruna/win-stream'),
      socket: () => require('@kiruna/win-socket'),
    },
  },
}

/** Where the OS's own cannot be had; loaded only then. */
const fallback: { [P in Personality]: () => Personalities[P] } = {
  seek: () => require('@kiruna/node-seek'),
  stream: () => require('@kiruna/node-stream'),
  socket: () => require('@kiruna/node-socket'),
}

interface Selected<P extends Personality> {
  io: Personalities[P]
  implementation: Implementation
}

const selected: { [P in Personality]?: Selected<P> } = {}

/** The OS's own package for a personality, or Node's where that cannot be had. */
export function select<P extends Personality>(personality: P): Personalities[P] {
  return selectedFor(personality).io
}

/**
 * Which implementation a personality has in this process, and why not the better one:
 * `{ name: 'libuv', reason: 'KIRUNA_IO=libuv' }`.
 * @throws TypeError ERR_INVALID_ARG_VALUE: no such personality
 */
export function implementationOf(personality: Personality): Implementation {
  if (!Object.hasOwn(fallback, personality)) {
    throw invalidValue('personality', "must be 'seek', 'stream' or 'socket'", personality)
  }
  return { ...selectedFor(personality).implementation }
}

function selectedFor<P extends Personality>(personality: P): Selected<P> {
  const known: Selected<P> | undefined = selected[personality]
  if (known !== undefined) return known
  const made = own(personality)
  Object.assign(selected, { [personality]: made })
  return made
}

function own<P extends Personality>(personality: P): Selected<P> {
  const forced = process.env.KIRUNA_IO
  if (forced === 'libuv') return fallBack(personality, 'KIRUNA_IO=libuv')
  if (forced) warnOnce(forced)
  const row = rows[process.platform]
  if (row === undefined) return fallBack(personality, `there is no package for ${process.platform} yet`)
  try {
    const io = row.own[personality]()
    io.check()
    return { io, implementation: { name: row.name } }
  } catch (error) {
    return fallBack(personality, reasonOf(error))
  }
}

function fallBack<P extends Personality>(personality: P, reason: string): Selected<P> {
  return { io: fallback[personality](), implementation: { name: 'libuv', reason } }
}

/** A package that is missing, refused or broken is a reason, never an import that fails. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, message } = error as NodeJS.ErrnoException
  const missing = /^MODULE_NOT_FOUND|^ERR_MODULE_NOT_FOUND/.test(code ?? '')
    ? /'(@kiruna\/[\w-]+)/.exec(message)?.[1]
    : undefined
  return missing === undefined ? message.split('\n')[0]! : `${missing} is not installed`
}

let hasWarned = false

function warnOnce(forced: string): void {
  if (hasWarned) return
  hasWarned = true
  process.emitWarning(`KIRUNA_IO may be 'libuv' or unset, not '${forced}': it is ignored`, {
    code: 'KIRUNA_IO',
  })
}
