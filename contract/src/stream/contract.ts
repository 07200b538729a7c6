import type { Stream } from '@kiruna/fs-stream'
import type { Promised } from '../contract.ts'

export type { Test as StreamTest } from '../contract.ts'
export type { Stream }

export type StreamContract = Promised<Stream>
