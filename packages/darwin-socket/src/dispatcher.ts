import { constants } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import type { Waiting } from '@kiruna/net-socket/waiting'
import type { Rank } from '@kiruna/priority'
import { unavailable } from '@kiruna/priority/addon'
import { Batch } from '@kiruna/priority/batch'
import { reportUncaught, systemError } from '@kiruna/priority/error'
import { nextTick } from '@kiruna/priority/timers'
import { closedDirection, loadNative, type Native } from './native.ts'

export const EAGAIN = -constants.errno.EAGAIN

/** How many results are taken at once. */
const mostTaken = 256
/** How many urgent reads are tried before what is less urgent settles. */
const mostHurried = 32

/** A socket, for the dispatcher. */
export interface Source {
  readonly id: number
  /** The rank of the read under way. */
  readonly readRank: Rank
  complete(direction: number, result: number): void
  /** Tries the read at once. If it succeeds, the next `take` returns its result. */
  hurry(): void
}

/** Something that sends at the end of the tick. */
export interface Sender {
  readonly sendRank: Rank
  send(): void
}

/**
 * What this thread's sockets have under way with Grand Central Dispatch:
 *
 *     read() ─► a source of its socket ─► recv, on a GCD thread ─► uv_async ─► complete() ─► settled, most urgent first
 *
 * @see dispatch(3)
 */
class Dispatcher {
  readonly native: Native
  readonly #sockets: (Source | undefined)[] = []
  readonly #taken = new Int32Array(2 * mostTaken)
  #keptAliveBy = 0
  #isBatch = false
  /** What has its outcome in this batch. */
  readonly #batch = new Batch<Waiting<never>>()
  /** The rank of the least urgent one in the batch; −1: it is empty. */
  #leastRank = -1
  readonly #senders = new Set<Sender>()
  /** Sockets with a read under way, by its rank. */
  readonly #reading = [0, 1, 2, 3].map(() => new Set<Source>())

  constructor(native: Native) {
    const error = native.setup(this.#ready, isMainThread)
    if (error !== 0) throw unavailable(systemError(error, 'setup').message)
    this.native = native
  }

  add(socket: Source): void {
    this.#sockets[socket.id] = socket
  }

  /** Counts what keeps the process alive: one more, or one less. */
  keepAlive(change: 1 | -1): void {
    this.#keptAliveBy += change
    if (this.#keptAliveBy === 1 && change === 1) this.native.ref()
    else if (this.#keptAliveBy === 0) this.native.unref()
  }

  /** @internal called by a socket: its read is under way */
  readBegun(socket: Source): void {
    this.#reading[socket.readRank]!.add(socket)
  }

  /** @internal */
  readEnded(socket: Source): void {
    this.#reading[socket.readRank]!.delete(socket)
  }

  /** Sends at the end of this tick: the writes of one turn together, and most urgent first. */
  sendSoon(sender: Sender): void {
    this.#senders.add(sender)
    if (this.#senders.size === 1) nextTick(this.#flush)
  }

  /** Returns false if the sender does not wait for the end of the tick. */
  cancelSend(sender: Sender): boolean {
    return this.#senders.delete(sender)
  }

  /** The call has its outcome: it is delivered with its batch, most urgent first. */
  handOver(one: Waiting<never>): void {
    if (this.#isBatch) {
      this.#batch.add(one)
      this.#leastRank = Math.max(this.#leastRank, one.rank)
    } else one.deliver()
  }

  readonly #flush = (): void => {
    this.#isBatch = true
    const senders = [...this.#senders].sort((a, b) => a.sendRank - b.sendRank)
    this.#senders.clear()
    for (const sender of senders) {
      try {
        sender.send()
      } catch (error) {
        reportUncaught(error)
      }
    }
    this.#deliver()
  }

  readonly #ready = (): void => {
    this.#isBatch = true
    this.#takeAll()
    this.#hurry()
    this.#takeAll()
    this.#deliver()
  }

  #takeAll(): void {
    let count: number
    do {
      count = this.native.take(this.#taken)
      for (let at = 0; at < 2 * count; at += 2) this.#complete(this.#taken[at]!, this.#taken[at + 1]!)
    } while (count === mostTaken)
  }

  /** Tries more urgent reads, so that they are in this batch too: threads do not complete in the order of urgency. */
  #hurry(): void {
    let left = mostHurried
    for (let rank = 0; rank < this.#leastRank; rank++) {
      for (const socket of this.#reading[rank]!) {
        if (left-- === 0) return
        socket.hurry()
      }
    }
  }

  #complete(key: number, result: number): void {
    const id = key >> 2
    const direction = key & 3
    const socket = this.#sockets[id]!
    if (direction === closedDirection) {
      this.#sockets[id] = undefined
      this.native.forget(id)
    }
    try {
      socket.complete(direction, result)
    } catch (error) {
      reportUncaught(error) // an asker's own code has thrown: the others still get their completions
    }
  }

  #deliver(): void {
    this.#isBatch = false
    this.#leastRank = -1
    this.#batch.deliver()
  }
}

let threadDispatcher: Dispatcher | undefined

/**
 * The dispatcher of this thread, set up at the first call.
 * @throws Error ERR_KIRUNA_UNAVAILABLE with the reason: not macOS, no addon. The next call tries again
 */
export function dispatcher(): Dispatcher {
  threadDispatcher ??= new Dispatcher(loadNative())
  return threadDispatcher
}
