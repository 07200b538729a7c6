import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import type { Seek } from '@kiruna/fs-seek'
import type { Stream } from '@kiruna/fs-stream'
import type { Net } from '@kiruna/net-socket'
import { unavailable } from '@kiruna/priority/addon'
import { invalidValue } from '@kiruna/priority/error'

interface Personalities {
  seek: Seek
  stream: Stream
  socket: Net
}

/** Each personality is selected by itself: one may fall back while another does not. */
export type Personality = keyof Personalities

/** What does the I/O here, and why it is not the OS's own API. */
export interface Implementation {
  name: 'io_uring' | 'dispatch' | 'iocp' | 'libuv'
  reason?: string
}

type Package = Personalities[Personality]
/** A package for one OS. `check` throws ERR_KIRUNA_UNAVAILABLE, with the reason, if it does not work here. */
type OwnPackage = Package & { check(): void }

const require = createRequire(import.meta.url)

/**
 * Which package is for which system: no other file knows. A package is loaded when it is needed. The names are
 * literals, for bundlers that follow createRequire; for others `@kiruna/*` is external.
 */
const ownPackages: {
  [System in NodeJS.Platform]?: Record<Personality, () => OwnPackage> & Pick<Implementation, 'name'>
} = {
  linux: {
    name: 'io_uring',
    seek: () => require('@kiruna/linux-seek'),
    stream: () => require('@kiruna/linux-stream'),
    socket: () => require('@kiruna/linux-socket'),
  },
  darwin: {
    name: 'dispatch',
    seek: () => require('@kiruna/darwin-seek'),
    stream: () => require('@kiruna/darwin-stream'),
    socket: () => require('@kiruna/darwin-socket'),
  },
  win32: {
    name: 'iocp',
    seek: () => require('@kiruna/win-seek'),
    stream: () => require('@kiruna/win-stream'),
    socket: () => require('@kiruna/win-socket'),
  },
}

/** The fallback, on Node's own libuv. */
const nodePackages: Record<Personality, () => Package> = {
  seek: () => require('@kiruna/node-seek'),
  stream: () => require('@kiruna/node-stream'),
  socket: () => require('@kiruna/node-socket'),
}

interface Selected {
  io: Package
  implementation: Implementation
}

const selected = new Map<Personality, Selected>()

const forced = process.env.KIRUNA_IO
if (forced && forced !== 'libuv') {
  process.emitWarning(`KIRUNA_IO may be 'libuv' or unset, not '${forced}': it is ignored`, {
    code: 'KIRUNA_IO',
  })
}

/** The OS's own package for a personality, or Node's if that does not work here. */
export function select<P extends Personality>(personality: P): Personalities[P] {
  return selectedFor(personality).io as Personalities[P]
}

/**
 * Which implementation a personality has in this process, and why not the better one:
 * `{ name: 'libuv', reason: 'KIRUNA_IO=libuv' }`.
 * @throws TypeError ERR_INVALID_ARG_VALUE: no such personality
 */
export function implementationOf(personality: Personality): Implementation {
  if (!Object.hasOwn(nodePackages, personality)) {
    throw invalidValue('personality', "must be 'seek', 'stream' or 'socket'", personality)
  }
  return { ...selectedFor(personality).implementation }
}

/** Mapped files have one package for all systems, which is optional: without it, `map` rejects with the reason. */
export function selectMmap(): Pick<typeof import('@kiruna/fs-mmap'), 'map'> {
  try {
    return require('@kiruna/fs-mmap')
  } catch (error) {
    return { map: () => Promise.reject(unavailable(reasonOf(error))) }
  }
}

function selectedFor(personality: Personality): Selected {
  let known = selected.get(personality)
  if (known === undefined) selected.set(personality, (known = ownOrNode(personality)))
  return known
}

function ownOrNode(personality: Personality): Selected {
  if (forced === 'libuv') return fallBack(personality, 'KIRUNA_IO=libuv')
  const own = ownPackages[process.platform]
  if (own === undefined) return fallBack(personality, `there is no package for ${process.platform} yet`)
  try {
    const io = own[personality]()
    io.check()
    return { io, implementation: { name: own.name } }
  } catch (error) {
    const reason = reasonOf(error)
    if (!isMainThread && /^(ENOMEM|EMFILE|ENFILE|EAGAIN):/.test(reason)) warnOfFallback(reason)
    return fallBack(personality, reason)
  }
}

let hasWarned = false

/** The system is short of something, so only this worker falls back, and nobody asks a worker for its reason. */
function warnOfFallback(reason: string): void {
  if (hasWarned) return
  hasWarned = true
  process.emitWarning(`The I/O of this worker is by libuv: ${reason}`, { code: 'KIRUNA_FALLBACK' })
}

function fallBack(personality: Personality, reason: string): Selected {
  return { io: nodePackages[personality](), implementation: { name: 'libuv', reason } }
}

/** A package that is missing, refused or broken is a reason, never an import that fails. */
function reasonOf(error: unknown): string {
  const { code, message } = (error ?? {}) as NodeJS.ErrnoException
  if (typeof message !== 'string') return String(error)
  const isMissing = code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND'
  const missing = isMissing ? /'(@kiruna\/[\w-]+)/.exec(message)?.[1] : undefined
  return missing === undefined ? message.split('\n')[0]! : `${missing} is not installed`
}
