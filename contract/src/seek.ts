import type { Contract } from './contract.ts'
import { aborting } from './seek/aborting.ts'
import { allocating } from './seek/allocating.ts'
import { badArguments } from './seek/arguments.ts'
import { callers } from './seek/callers.ts'
import { chunks } from './seek/chunks.ts'
import { errors } from './seek/errors.ts'
import { manyFiles } from './seek/many-files.ts'
import { model } from './seek/model.ts'
import { opening } from './seek/opening.ts'
import { processes } from './seek/process.ts'
import { reading } from './seek/reading.ts'
import { saving } from './seek/saving.ts'
import { wholeFiles } from './seek/whole-files.ts'
import { writing } from './seek/writing.ts'
import { writingAborted } from './seek/writing-aborted.ts'
import { writingAll } from './seek/writing-all.ts'
import { writingErrors } from './seek/writing-errors.ts'
import { writingProcesses } from './seek/writing-processes.ts'

/** What every `seek` must do: plain data, for any test runner. */
export const seekContract: Record<string, Contract[]> = {
  reading,
  'whole files': wholeFiles,
  'many files': manyFiles,
  chunks,
  'opening, closing, status': opening,
  errors,
  'bad arguments': badArguments,
  aborting,
  writing,
  'allocating room': allocating,
  'writing whole files': writingAll,
  saving,
  'writes that fail': writingErrors,
  'writes that are aborted': writingAborted,
  'writes of processes': writingProcesses,
  'a model of a file': model,
  callers,
  'the process': processes,
}
