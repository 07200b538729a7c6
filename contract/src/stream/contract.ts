import type * as libuv from '@kiruna/node-libuv/stream'

/** The personality that is tested, whichever package it is from. */
export type Stream = typeof libuv

/** One promise that every implementation keeps: its name is the sentence. */
export interface StreamContract {
  name: string
  run(stream: Stream, test: StreamTest): Promise<void>
}

/** What a runner gives to a contract. */
export interface StreamTest {
  /** A folder of its own, empty, removed afterwards. */
  folder: string
  /** Where a child process imports the same `stream` from. */
  streamUrl: string
  /** The contract cannot be looked at here; to be followed by `return`. */
  skip(reason: string): void
}
