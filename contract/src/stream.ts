import { aborting } from './stream/aborting.ts'
import { badArguments } from './stream/arguments.ts'
import { callers } from './stream/callers.ts'
import type { StreamContract } from './stream/contract.ts'
import { errors } from './stream/errors.ts'
import { leaving } from './stream/leaving.ts'
import { positions } from './stream/positions.ts'
import { processes } from './stream/process.ts'
import { random } from './stream/random.ts'
import { reading } from './stream/reading.ts'
import { terminals } from './stream/terminals.ts'
import { writing } from './stream/writing.ts'

/** What every `stream` must do: plain data, for any test runner. */
export const streamContract: Record<string, StreamContract[]> = {
  reading,
  leaving,
  writing,
  positions,
  terminals,
  aborting,
  callers,
  errors,
  'bad arguments': badArguments,
  'any lengths': random,
  'the process': processes,
}
