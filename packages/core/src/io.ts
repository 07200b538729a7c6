import type { Seek } from '@kiruna/fs-seek'
import type { Stream } from '@kiruna/fs-stream'
import './default-scheduler.ts' // a bare priority goes on at that priority
import { type Implementation, implementationOf, type Personality, select } from './select.ts'

export type {
  Chunk,
  ChunksOptions,
  File,
  OpenOptions,
  PathLike,
  ReadManyOptions,
  ReadResult,
  WriteAllOptions,
  WriteData,
} from '@kiruna/fs-seek'
export type { ReadOptions, WriteOptions, Writer } from '@kiruna/fs-stream'
export type { Implementation, Personality, Seek, Stream }

/** Files at offsets, by the OS's preferred API. */
export const seek: Seek = select('seek')

/** Pipes, FIFOs, terminals, devices, and files in order, by the OS's preferred API. */
export const stream: Stream = select('stream')

/** Which implementation a personality has in this process, and why not the better one. */
export function implementation(personality: Personality = 'seek'): Implementation {
  return implementationOf(personality)
}
