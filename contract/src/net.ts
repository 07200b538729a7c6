import { aborting } from './net/aborting.ts'
import { accepting } from './net/accepting.ts'
import { badArguments } from './net/arguments.ts'
import { callers } from './net/callers.ts'
import { closing } from './net/closing.ts'
import { connecting } from './net/connecting.ts'
import type { NetContract } from './net/contract.ts'
import { datagramOptions } from './net/datagram-options.ts'
import { datagrams } from './net/datagrams.ts'
import { model } from './net/model.ts'
import { peers } from './net/peers.ts'
import { processes } from './net/process.ts'
import { readingInto } from './net/reading-into.ts'
import { stress } from './net/stress.ts'
import { transfers } from './net/transfers.ts'
import { trust } from './net/trust.ts'

/** What every `net` must do: plain data, for any test runner. */
export const netContract: Record<string, NetContract[]> = {
  connecting,
  accepting,
  'reading and writing': transfers,
  'reading into memory': readingInto,
  callers,
  aborting,
  closing,
  peers,
  'bad arguments': badArguments,
  datagrams,
  'groups and options of datagrams': datagramOptions,
  trust,
  'the process': processes,
  'any order': model,
  many: stress,
}
