import type * as libuv from '@kiruna/node-libuv/seek'

type AnySeek = { open: (path: string, caller: 'background') => Promise<object> }

/** What a user sees of a module: a class's `#private` members would make two implementations different types. */
export type Public<Module extends AnySeek> = Omit<Module, 'File' | 'open'> & {
  open(...given: Parameters<Module['open']>): Promise<PublicFile<Module>>
}
type PublicFile<Module extends AnySeek, File = Awaited<ReturnType<Module['open']>>> = {
  [Name in keyof File]: File[Name]
}

/** The personality that is tested, whichever package it is from. */
export type Seek = Public<typeof libuv>
export type File = Awaited<ReturnType<Seek['open']>>

/** Thrown where a contract cannot be looked at: it is skipped, with the reason. */
export class NotHere extends Error {}

/** One promise that every implementation keeps: its name is the sentence. */
export interface Contract {
  name: string
  run(seek: Seek, test: Test): Promise<void>
}

/** What a runner gives to a contract. */
export interface Test {
  /** A folder of its own, empty, removed afterwards. */
  folder: string
  /** Where a child process imports the same `seek` from. */
  seekUrl: string
  /** The contract cannot be looked at here; to be followed by `return`. */
  skip(reason: string): void
}
