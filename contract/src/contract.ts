import type { File, Seek } from '@kiruna/fs-seek'

export type { File, Seek }

/** Thrown where a contract cannot be looked at: it is skipped, with the reason. */
export class NotHere extends Error {}

/** One promise that every implementation of a personality keeps: its name is the sentence. */
export interface Promised<Personality> {
  name: string
  run(io: Personality, test: Test): Promise<void>
}

export type Contract = Promised<Seek>

/** What a runner gives to a contract. */
export interface Test {
  /** A folder of its own, empty, removed afterwards. */
  folder: string
  /** Where a child process imports the same implementation from. */
  url: string
  /** The contract cannot be looked at here; to be followed by `return`. */
  skip(reason: string): void
}
